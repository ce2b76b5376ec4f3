"""Flower does not listen where strangers are, unless it asks for a password."""


def test_flower_does_not_listen_to_strangers_without_a_password(run):
    done = run("flower", "--host", "0.0.0.0", env={"FLOWER_BASIC_AUTH": "", "FLOWER_AUTH": ""})

    assert done.exit_code == 2
    assert "FLOWER_BASIC_AUTH" in done.output
