import io
import zipfile

import numpy as np
import pytest

from engine.errors import StepError
from engine.measure.size import measure_size


def test_noise_does_not_shrink_and_zeros_do(tmp_path):
    noise, zeros = tmp_path / "noise.onnx", tmp_path / "zeros.onnx"
    noise.write_bytes(np.random.default_rng(0).bytes(50_000))
    zeros.write_bytes(bytes(50_000))
    assert measure_size(noise).size_bytes == measure_size(zeros).size_bytes == 50_000
    assert 50_000 <= measure_size(noise).size_zipped_bytes < 50_300
    assert measure_size(zeros).size_zipped_bytes < 300


def test_the_zipped_size_is_that_of_a_real_zip_whatever_the_name(tmp_path):
    content = b"paretoscope " * 1000
    short, long = tmp_path / "a.onnx", tmp_path / ("f" * 64 + ".onnx")
    short.write_bytes(content)
    long.write_bytes(content)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as zipped:
        zipped.writestr("model.onnx", content)
    assert measure_size(short) == measure_size(long)
    assert measure_size(short).size_zipped_bytes == len(archive.getvalue())


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(StepError, match=r"gone\.onnx cannot be read: No such file"):
        measure_size(tmp_path / "gone.onnx")
