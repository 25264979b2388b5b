"""A form from publishing to judgments with real parts: boto3, the local MTurk, S3, a worker in Chromium."""

import re

import pytest
from mturk_servers import panel
from test_browser import LEFT, RIGHT, chromium, next_one, progress  # noqa: F401
from test_mturk_questions_sessions import HITS, SHORT, s3  # noqa: F401

import eyetune
from study.errors import InputError


def test_a_form_is_published_answered_and_collected(chromium, s3, make_study, tmp_path, capsys):  # noqa: F811
    """Two sessions of their own; one worker does one of them, and their answers become judgments once."""
    study = make_study(hits=HITS | {"sessions": 2, "reward_usd": "0.50"}, session=SHORT | {"trials": 2})
    with panel(tmp_path / "panel", "--balance", "100.00") as running:

        def mturk(verb: str) -> str:
            assert eyetune.main(["mturk", verb, str(study.root), "--endpoint", running.api]) in (0, None)
            return capsys.readouterr().out

        assert "2 HITs" in mturk("publish")
        assert "all 2 sessions are published" in mturk("publish")
        eyetune.main(["mturk", "invite", str(running.folder), "--url", running.site, "--worker", "Ana"])
        (link,) = re.findall(r"Ana: (http\S+)", capsys.readouterr().out)
        context = chromium.new_context(viewport={"width": 1280, "height": 900})
        try:
            page = context.new_page()
            page.set_default_timeout(15_000)
            page.goto(link)
            page.get_by_role("button", name="Accept").first.click()
            frame = page.wait_for_selector("iframe#question").content_frame()
            frame.click("#agree")
            frame.click("#start")
            frame.click(RIGHT)
            next_one(frame, "1 of 2")
            assert progress(frame) == "2 of 2"
            frame.click(LEFT)
            page.get_by_text("Submitted. Thank you!").wait_for()
        finally:
            context.close()
        assert "1 submitted, 1 of them new" in mturk("collect")
        assert "1 submitted, 0 of them new" in mturk("collect")
    votes = study.all_judgments().sort_values("position")
    assert list(votes["side"]) == ["right", "left"] and set(votes["protocol"]) == {"side-by-side"}


def test_forms_with_signed_addresses_are_not_offered_longer(s3, make_study, tmp_path, capsys):  # noqa: F811
    """Their images would be gone before the HIT; at images_url they stay."""
    signed = make_study("signed", hits=HITS | {"sessions": 1}, session=SHORT)
    plain = make_study("plain", hits=HITS | {"sessions": 1, "images_url": "https://images.example"}, session=SHORT)
    with panel(tmp_path / "panel") as running:
        for study in (signed, plain):
            eyetune.main(["mturk", "publish", str(study.root), "--endpoint", running.api])
        with pytest.raises(InputError, match="--hours: the signed addresses in published forms end"):
            eyetune.main(["mturk", "extend", str(signed.root), "--endpoint", running.api, "--hours", "5"])
        eyetune.main(["mturk", "extend", str(plain.root), "--endpoint", running.api, "--hours", "5"])
    assert "offered for 5 hours from now" in capsys.readouterr().out
