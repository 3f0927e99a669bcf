"""Tables in the log."""

from mvit_det.evaluation.tables import class_table


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_many_classes_are_in_two_columns():
    rows = [[f"c{k}", k / 3] for k in range(11)]
    head, _, *lines = class_table(["class", "AP"], rows).splitlines()
    assert cells(head) == ["class", "AP"] * 2 and len(lines) == 6
    assert cells(lines[0]) == ["c0", "0.00", "c6", "2.00"]
    assert cells(lines[5]) == ["c5", "1.67", "", ""]
    head, _, *lines = class_table(["class", "AP"], rows[:10]).splitlines()
    assert cells(head) == ["class", "AP"] and len(lines) == 10
