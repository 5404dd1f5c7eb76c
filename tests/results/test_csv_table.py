"""A table is the text of its CSV: what is made is what is read, and a cell that is no number is refused by name."""

import math

import pytest

from lengthscale.bench.results.csv_table import CsvTable, TextRow, read_table, table_of
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.estimate import Estimate

TABLE = table_of(("name", "value", "count"), [{"name": 'a "b", c\nd', "value": 1 / 3}, {"value": math.inf, "count": 2}])


def test_values_become_text():
    assert TABLE.rows == [['a "b", c\nd', "0.333333", ""], ["", "inf", "2"]]
    assert table_of(("value",), [{"value": 1 / 3}], digits=2).rows == [["0.33"]]
    with pytest.raises(ValueError, match="the table has no column other"):
        table_of(("name",), [{"name": "a", "other": 1}])


def test_what_is_written_is_what_is_read(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(TABLE.text)
    assert read_table(path) == TABLE
    path.write_text("name,value\nshort\nlong,1,2\n\n")
    assert read_table(path) == CsvTable(["name", "value"], [["short", ""], ["long", "1"]])
    path.write_text("")
    assert read_table(path) == CsvTable([], [])


def test_a_cell_that_is_no_number_is_refused_by_name():
    row = TextRow(0, {"length": "many", "loss": "", "slope": "1.5", "slope_low": "1"})
    assert math.isnan(row.number("loss"))
    assert math.isnan(row.number("accuracy"))
    assert (row.whole("loss"), row.known("loss"), row.has("loss"), row.estimate("loss")) == (0, None, False, None)
    assert row.estimate("slope") == Estimate(1.5, 1.0, None)
    with pytest.raises(JournalError, match="a CSV's length must be a number, got 'many'"):
        row.number("length")
