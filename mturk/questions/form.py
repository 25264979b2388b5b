"""An HTMLQuestion: a page that travels with the HIT, so that no server of ours is needed."""

from mturk.questions.well_formed import check_characters, check_height, check_size

NAMESPACE = "http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/2011-11-11/HTMLQuestion.xsd"


def html_question(html: str, frame_height: int) -> str:
    """The XML of an HTMLQuestion that shows `html`.

    `frame_height` in CSS pixels, 0 for the window's. Line ends become "\\n", which XML and HTML parsers make of them
    anyway. Raises InputError for characters that XML cannot hold and for more than 65,535 bytes of XML.
    """
    check_height(frame_height)
    check_characters(html, "the form")
    html = html.replace("\r\n", "\n").replace("\r", "\n")
    content = html.replace("]]>", "]]]]><![CDATA[>")  # what would end the CDATA section stands half in the next one
    xml = (
        f'<HTMLQuestion xmlns="{NAMESPACE}"><HTMLContent><![CDATA[{content}]]></HTMLContent>'
        f"<FrameHeight>{frame_height}</FrameHeight></HTMLQuestion>"
    )
    return check_size(xml, "the form", "shorten the texts in [page] of study.toml")
