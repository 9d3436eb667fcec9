"""Matrix products and their floating-point operations.

A convolution with a k x k kernel from C_in to C_out channels over N = B * H * W positions is a single product: either
[N, k^2 C_in] x [k^2 C_in, C_out], of all neighbourhoods, or [N, C_in] x [C_in, k^2 C_out], whose results are shifted
and added. Both take 2 N k^2 C_in C_out operations, including those on the zero padding at the border of the image. The
form that moves less memory is counted. For a sequence, with k taps and N = B * T, k replaces k^2.
"""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Product:
    """A matrix product [rows, inner] x [inner, columns]."""

    rows: int
    inner: int
    columns: int

    @property
    def flops(self) -> int:
        """Floating-point operations: a multiplication and an addition for each of rows * inner * columns terms."""
        # NumPy's integers would overflow.
        return 2 * int(self.rows) * int(self.inner) * int(self.columns)

    def gradients(self) -> tuple["Product", "Product"]:
        """Returns the products that give the gradients with respect to the two factors."""
        return Product(self.rows, self.columns, self.inner), Product(self.inner, self.rows, self.columns)


def convolution(shape: tuple[int, ...], batch_size: int, size: int, inputs: int, outputs: int) -> Product:
    """Returns the matrix product of a convolution of images [H, W, ...] with a kernel [size, size, inputs, outputs].

    For sequences [T, ...], the kernel is [size, inputs, outputs].
    """
    positions, taps = batch_size * math.prod(shape[:-1]), size ** (len(shape) - 1)
    if inputs <= outputs:
        return Product(positions, taps * inputs, outputs)
    return Product(positions, inputs, taps * outputs)
