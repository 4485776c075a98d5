"""The packaged tables are those of the reference that is installed."""

from __future__ import annotations

import numpy as np

from tfpipeline.text.generate_unicode import PATH, probe


def test_packaged_tables_are_up_to_date():
    arrays = probe()
    with np.load(PATH, allow_pickle=False) as file:
        assert set(file) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(
                file[name], array, err_msg=f"{name}: run python -m tfpipeline.text.generate_unicode"
            )


def test_packaged_tables_are_small():
    assert PATH.stat().st_size < 100_000
