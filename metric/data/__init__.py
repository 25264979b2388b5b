"""Judgments from a study, BAPPS folders or tables, as `judgments.Data`; `sources.open_data` opens them."""
