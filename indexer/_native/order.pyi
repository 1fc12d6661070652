"""Types of the compiled order of rows; order.pyx is the code."""

from typing import Any

import numpy.typing as npt

AnyArray = npt.NDArray[Any]

def order(
    org_id: AnyArray, project_id: AnyArray, metric_id: AnyArray, series_id: AnyArray, bucket: AnyArray
) -> AnyArray | None: ...
