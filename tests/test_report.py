import io

import pytest
import rich
import torch
from rich.console import Console
from torch import nn
from torch.nn.utils import parametrizations

from tinyshrink import metrics, models, progress, report, structured


def test_the_functions_of_a_student_drive_the_report(monkeypatch):
    for name, value in {"layer_macs": 7, "count_parameters": 11, "sparsity": 0.25, "model_bytes": 13}.items():
        monkeypatch.setattr(metrics, name, lambda *args, value=value, **options: value)
    table = report.report(nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Linear(4, 2)), torch.randn(3, 1, 2, 2))
    conv, linear = table.rows
    assert (conv.macs, conv.parameters, conv.nonzeros, conv.sparsity, conv.bytes) == (7, 11, 11, 0.25, 13)
    assert table.total.macs == conv.macs + linear.macs


def test_report_has_a_row_for_each_layer_and_a_total():
    model = models.DigitsCNN()
    nn.init.zeros_(model.fc2.weight)
    table = report.report(model, torch.randn(2, 1, 8, 8))
    assert [row.name for row in table.rows] == ["conv1", "conv2", "conv3", "fc1", "fc2"]
    assert table.rows[1][:5] == ("conv2", "Conv2d", (64, 32, 3, 3), 18432, 18432)
    assert table.rows[1].macs == 64 * 8 * 8 * 32 * 9
    assert (table.rows[4].nonzeros, table.rows[4].sparsity, table.rows[4].bytes) == (10, 1.0, 2890 * 4)
    assert table.total.name == "total" and table.total.parameters == 243_530
    assert table.total.macs == sum(row.macs for row in table.rows)
    assert all(0 < row.latency_share < 1 for row in table.rows)
    assert sum(row.latency_share for row in table.rows) < 1.5  # medians of shares; the rest is norms and Python


def test_report_takes_attention_as_one_layer():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    table = report.report(layer, torch.randn(2, 3, 8))
    assert [row.name for row in table.rows] == ["self_attn", "linear1", "linear2"]
    assert table.rows[0].parameters == 4 * 8 * 8 + 4 * 8
    assert table.rows[0].macs == 3 * (4 * 8 * 8 + 2 * 3 * 8)
    attention = nn.MultiheadAttention(8, 2, batch_first=True, kdim=3, vdim=5)
    inputs = (torch.randn(2, 4, 8), torch.randn(2, 6, 3), torch.randn(2, 6, 5))
    assert [row.shape for row in report.report(attention, inputs).rows] == [(8, 8)]


def test_report_counts_shared_weights_once_in_the_total():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    table = report.report(model, torch.randn(2, 4))
    assert [row.parameters for row in table.rows] == [16, 16]
    assert (table.total.parameters, table.total.bytes, table.total.macs) == (16, 64, 32)


def test_report_shows_as_text_as_a_rich_table_and_as_html():
    model = nn.ModuleDict({"[red]<b>": nn.Linear(4, 2)})
    model.forward = lambda x: model["[red]<b>"](x)
    table = report.report(model, torch.randn(2, 4))
    assert "[red]<b>" in str(table) and "total" in str(table)
    console = Console(file=io.StringIO(), width=120)
    console.print(table)
    assert console.file.getvalue().strip() == str(table)
    rich.print(table, file=io.StringIO())
    html = table._repr_html_()
    assert html.count("<tr>") == 3 and "[red]&lt;b&gt;" in html and "<b>" not in html


def test_text_has_no_colours_even_where_they_are_asked_for(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    shown = report.report(model, torch.randn(2, 4)), structured.plan_channels(model, torch.randn(2, 4), 0.5), progress.show()
    for one in shown:
        assert "\x1b" not in repr(one) and "─" in repr(one)


def test_report_leaves_layers_with_a_computed_weight_to_the_total():
    model = nn.Sequential(nn.Linear(4, 3), parametrizations.weight_norm(nn.Linear(3, 2)))
    table = report.report(model, torch.randn(2, 4))
    assert [row.name for row in table.rows] == ["0"]
    assert table.total.macs == 12 + 6


def test_a_report_leaves_the_model_as_it_was():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    mean = model[1].running_mean.clone()
    report.report(model, torch.randn(3, 4))
    assert model.training and torch.equal(model[1].running_mean, mean)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_model_without_weights_has_no_report():
    with pytest.raises(ValueError, match="Sequential has no"):
        report.report(nn.Sequential(), torch.ones(1))
