"""Names in any script: drawn with a font that has their characters, or said not to be."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from mvit_det.evaluation.drawing import fonts
from mvit_det.evaluation.drawing.boxes import overlay
from mvit_det.evaluation.drawing.figures import draw_bars, new_figure, save_figure
from mvit_det.evaluation.drawing.labels import panel

WHITE = (255, 255, 255)


@pytest.fixture
def system(tmp_path, monkeypatch, caplog):
    """A function that sets the fonts of the system: one font per text, of large squares."""

    def use(*texts: str) -> list[str]:
        paths = []
        for number, text in enumerate(texts):
            names = [".notdef", *(f"u{ord(c)}" for c in text)]
            pen = TTGlyphPen(None)
            for k, corner in enumerate([(0, 0), (0, 900), (900, 900), (900, 0)]):
                (pen.lineTo if k else pen.moveTo)(corner)
            pen.closePath()
            glyph, empty = pen.glyph(), TTGlyphPen(None).glyph()
            builder = FontBuilder(1000, isTTF=True)
            builder.setupGlyphOrder(names)
            builder.setupCharacterMap({ord(c): f"u{ord(c)}" for c in text})
            builder.setupGlyf(dict.fromkeys(names, glyph) | {".notdef": empty})
            builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
            builder.setupHorizontalHeader(ascent=900, descent=-100)
            builder.setupNameTable({"familyName": f"Squares{number}", "styleName": "Regular"})
            builder.setupOS2()
            builder.setupPost()
            paths.append(str(tmp_path / f"{number}.ttf"))
            builder.save(paths[-1])
        monkeypatch.setattr(font_manager, "findSystemFonts", lambda: paths)
        monkeypatch.setattr(
            font_manager.fontManager, "ttflist", font_manager.fontManager.ttflist[:]
        )
        for cached in (fonts._find, fonts._font_files, fonts._charmap, panel):
            cached.cache_clear()
        fonts._reported.clear()
        return paths

    yield use
    monkeypatch.undo()
    for cached in (fonts._find, fonts._font_files, fonts._charmap, panel):
        cached.cache_clear()


def drawn(text: str) -> np.ndarray:
    return np.asarray(panel((text,), WHITE, 20, 300))


def labelled(names: list[str] | None) -> np.ndarray:
    instances = Instances((90, 200), pred_boxes=Boxes(torch.tensor([[9.0, 50, 190, 80]])))
    instances.pred_classes = torch.tensor([1])
    return overlay(np.zeros((90, 200, 3), np.uint8), instances, names)


@pytest.mark.parametrize(
    "one, other", [("Ähre", "Öhre"), ("кот", "пес"), ("قط", "كلب"), ("γ", "δ")]
)
def test_scripts_of_the_font_that_comes_with_matplotlib(system, caplog, one, other):
    """They were boxes without a letter, the same for any name of that length."""
    system()
    assert not np.array_equal(drawn(one), drawn(other)) and not caplog.records
    assert not np.array_equal(labelled(["", one]), labelled(["", other]))
    assert np.array_equal(drawn("A\u0308"), drawn("Ä"))  # decomposed


def test_a_font_of_the_system_has_the_characters(system, caplog, recwarn, tmp_path):
    broken = tmp_path / "broken.ttf"
    broken.write_text("no font")
    paths = system("猫", "猫犬0123456789%")
    paths.insert(0, str(broken))
    assert fonts.find_font("猫") == paths[1] and fonts.find_font("猫 9%") == paths[2]
    pixels = drawn("猫 90%")[..., :3].min(axis=2)
    assert (pixels == 255).sum() > 3 * 15 * 15
    assert not np.array_equal(labelled(["", "猫"]), labelled(None))
    figure = new_figure(3, 2)
    axes = figure.subplots()
    draw_bars(axes, np.array([50.0, 20]), ["猫", "cat"])
    save_figure(figure, tmp_path / "plot.png")
    assert axes.get_yticklabels()[0].get_fontfamily()[-1] == "Squares0"
    assert not caplog.records and not recwarn.list


def test_a_missing_font_is_said_once(system, caplog):
    system("犬")
    assert np.array_equal(labelled(["", "猫"]), labelled(None))
    assert np.array_equal(drawn("a 猫"), drawn("a \\u732b"))
    assert np.array_equal(drawn("\udcff"), drawn("\\udcff"))  # of a file name
    [record] = caplog.records
    assert "No font on this system has all characters of '猫': install one" in record.message
