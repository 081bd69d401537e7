"""The page over all experiments."""

from __future__ import annotations

import json

from diffurecsys.pipelines.reporting.nodes import close_study, summarise_experiments


def record(experiment, mean):
    line = {"model": "diffurec", "scores": {"HR@10": mean}, "paper": {}, "seconds": "1.0", "seeds": 5}
    return {
        "experiment": experiment,
        "dataset": "data",
        "setup": {"Seeds": "5"},
        "answer": [f"{experiment} was judged."],
        "warnings": [],
        "lines": [line],
    }


def test_the_newest_record_of_every_experiment_is_summed_up(tmp_path):
    for version, mean in (("1", "0.1111"), ("2", "0.2222")):
        place = tmp_path / "other/summary_record.json" / version
        place.mkdir(parents=True)
        (place / "summary_record.json").write_text(json.dumps(record("other", mean)))
        page = tmp_path / "other/report.html" / version / "report.html"
        page.parent.mkdir(parents=True)
        page.touch()
    mine = tmp_path / "mine/summary_record.json/9"
    mine.mkdir(parents=True)
    (mine / "summary_record.json").write_text(json.dumps(record("mine", "0.9999")))

    html, markdown = summarise_experiments(tmp_path, record("mine", "0.3333"), "")

    assert "0.2222" in markdown
    assert "0.1111" not in markdown
    assert "0.3333" in markdown  # this run's, not an older one from disk
    assert "0.9999" not in markdown
    assert 'href="other/report.html/2/report.html"' in html
    assert markdown.index("## mine") < markdown.index("## other")


def test_the_last_words_are_the_answer_and_the_newest_report(tmp_path, caplog):
    for version in ("1", "2"):
        page = tmp_path / "mine/report.html" / version / "report.html"
        page.parent.mkdir(parents=True)
        page.touch()
    caplog.set_level("INFO")
    text = close_study(tmp_path, record("mine", "0.3333"), "")
    assert text == f"mine was judged.\nThe report: {tmp_path}/mine/report.html/2/report.html\n"
    assert [message.message for message in caplog.records] == text.splitlines()
