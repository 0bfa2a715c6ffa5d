"""What tests of refusals share: the shortest selection, and what a refused command says."""

FAST = ("trainer.num_epochs=1", "num_heads=2")
SELECT = ("select-heads", *FAST)


def refused(result, words, exit_code=2):
    said = result.stderr.replace("\n", " ")
    assert result.exit_code == exit_code, result.output + result.stderr
    assert words in said, said
    assert "Traceback" not in result.output + result.stderr
