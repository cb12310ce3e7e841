"""Vector primitives that fix the order of every addition, prefetch, and widen what is stored.

A matrix of float32, of uint16 (bf16) and of int8 holds its numbers; one of uint8 holds rows as
`storage.grouped` lays them out: int8 in groups of 32, then a bf16 scale for each group.

LLVM may reassociate a `fastmath` reduction differently at each place it inlines one, so two kernels
calling one Python function need not agree in the last bit.  Certified screening promises that they
do.  These intrinsics therefore spell out vectors, accumulators and the reduction tree: the dot
product of a row depends on the row and the input alone, not on which kernel asks or which rows it
is computed with.  They work on `BLOCK` rows at a time because one core draws more from memory when
it reads several streams: each row lies in pages of its own.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils as _cgutils

from stocha.base.jit import primitive

LANES = 16  # numbers in a vector; LLVM splits what the machine's registers cannot hold
BLOCK = (
    8  # rows computed together: enough streams for the prefetchers, few enough for the registers
)
LINE = 64  # bytes of a cache line
GROUP = 32  # int8 numbers that share a scale

cgutils: Any = _cgutils  # numba's annotations stop short of it

_F32, _I32, _I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_BYTE_POINTER = ir.IntType(8).as_pointer()
_STORED = {types.float32: _F32, types.uint16: ir.IntType(16), types.int8: ir.IntType(8)}
_STORED[types.uint8] = _STORED[types.int8]
_BYTES = {types.float32: 4, types.uint16: 2, types.int8: 1, types.uint8: 1}


class _Matrix:
    """A C-contiguous matrix seen from inside an intrinsic."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        array = context.make_array(kind)(context, builder, value)
        self.builder, self.data, self.dtype = builder, array.data, kind.dtype
        self.columns = cgutils.unpack_tuple(builder, array.shape)[-1]
        self.grouped = kind.dtype == types.uint8
        self.unit = GROUP if self.grouped else LANES

    def scale(self, row: Any, column: Any) -> Any:
        """The scale of the group that holds a column of a row."""
        builder, half = self.builder, ir.Constant(_I32, 16)
        groups = builder.udiv(self.columns, ir.Constant(_I64, GROUP + 2))
        behind = builder.mul(groups, ir.Constant(_I64, GROUP))
        index = builder.udiv(column, ir.Constant(_I64, GROUP))
        place = builder.bitcast(builder.gep(row, [behind]), ir.IntType(16).as_pointer())
        bits = builder.zext(builder.load(builder.gep(place, [index]), align=2), _I32)
        return builder.bitcast(builder.shl(bits, half), _F32)

    def row(self, index: Any) -> Any:
        return self.builder.gep(self.data, [self.builder.mul(index, self.columns)])


def _kind(element: ir.Type, lanes: int) -> ir.Type:
    return element if lanes == 1 else ir.VectorType(element, lanes)


def _address(builder: Any, row: Any, index: Any, element: ir.Type, lanes: int) -> Any:
    return builder.bitcast(builder.gep(row, [index]), _kind(element, lanes).as_pointer())


def _widened(builder: Any, row: Any, index: Any, dtype: Any, lanes: int) -> Any:
    """Load `lanes` stored numbers and widen them to float32 in registers."""
    stored, wide = _kind(_F32, lanes), _kind(_I32, lanes)
    loaded = builder.load(_address(builder, row, index, _STORED[dtype], lanes), align=_BYTES[dtype])
    if dtype in (types.int8, types.uint8):
        return builder.sitofp(builder.sext(loaded, wide), stored)
    if dtype == types.uint16:  # a bf16 is the upper half of a float32
        half = ir.Constant(wide, 16 if lanes == 1 else [16] * lanes)
        return builder.bitcast(builder.shl(builder.zext(loaded, wide), half), stored)
    return loaded


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    suffix = "f32" if a.type == _F32 else f"v{a.type.count}f32"
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(a.type, [a.type] * 3), f"llvm.fmuladd.{suffix}"
    )
    return builder.call(function, [a, b, c])


def _touch(builder: Any, row: Any, index: Any) -> None:
    """Prefetch the line that holds an element; an address past the end is harmless."""
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [_BYTE_POINTER, _I32, _I32, _I32]),
        "llvm.prefetch.p0i8",
    )
    address = builder.bitcast(builder.gep(row, [index]), _BYTE_POINTER)
    read, keep, data = (ir.Constant(_I32, value) for value in (0, 3, 1))
    builder.call(function, [address, read, keep, data])


def _column_loops(
    builder: Any, columns: Any, line: int, unit: int, step: Callable[[Any, int], None]
) -> None:
    """Call `step(column, width)` for lines of columns, then units, then single columns."""
    start: Any = ir.Constant(_I64, 0)
    for width in sorted({line, unit, 1}, reverse=True):
        stop = builder.and_(columns, ir.Constant(_I64, -width))
        stride = ir.Constant(_I64, width)
        with cgutils.for_range_slice(builder, start, stop, stride, inc=True) as (column, _):
            step(column, width)
        start = stop


def _pieces(builder: Any, column: Any, width: int, unit: int) -> list[list[Any]]:
    """The columns at which the vectors of a step begin, unit by unit."""
    return [
        [
            builder.add(column, ir.Constant(_I64, offset + piece))
            for piece in range(0, min(width, unit), LANES)
        ]
        for offset in range(0, width, unit)
    ]


def _splat(builder: Any, scalar: Any, lanes: int) -> Any:
    if lanes == 1:
        return scalar
    undefined = ir.Constant(_kind(_F32, lanes), ir.Undefined)
    one = builder.insert_element(undefined, scalar, ir.Constant(_I32, 0))
    first = ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes)
    return builder.shuffle_vector(one, undefined, first)


def _halve(builder: Any, vector: Any) -> Any:
    """Sum a vector's lanes by a fixed tree of halves."""
    lanes = LANES
    while lanes > 1:
        lanes //= 2
        low, high = (
            ir.Constant(ir.VectorType(_I32, lanes), list(range(first, first + lanes)))
            for first in (0, lanes)
        )
        vector = builder.fadd(
            builder.shuffle_vector(vector, vector, low),
            builder.shuffle_vector(vector, vector, high),
        )
    return builder.extract_element(vector, ir.Constant(_I32, 0))


def _listed(builder: Any, array: Any, position: Any, count: int) -> list[Any]:
    """Read `count` row numbers from a list."""
    return [
        builder.load(builder.gep(array.data, [builder.add(position, ir.Constant(_I64, i))]))
        for i in range(count)
    ]


@primitive
def dot_block(
    typing: Any, w: Any, rows: Any, k: Any, x: Any, b: Any, out: Any, ahead: Any, p: Any
) -> Any:
    """out[b, r] = w[r] · x[b] for the rows r = rows[k], rows[k+1] …, while the lines of
    ahead[rows[p]], ahead[rows[p+1]] … travel towards the cache."""
    signature = types.void(w, rows, types.intp, x, types.intp, out, ahead, types.intp)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        w, rows, x, out, ahead = (
            _Matrix(context, builder, signature.args[i], args[i]) for i in (0, 1, 3, 5, 6)
        )
        k, b, p = args[2], args[4], args[7]
        numbers = _listed(builder, rows, k, BLOCK)
        weights = [w.row(number) for number in numbers]
        coming = [ahead.row(number) for number in _listed(builder, rows, p, BLOCK)]
        inputs = x.row(b)
        line = LINE // _BYTES[w.dtype]
        zeros = ir.Constant(_kind(_F32, LANES), [0.0] * LANES)
        sums = [cgutils.alloca_once_value(builder, zeros) for _ in range(BLOCK)]
        tails = [cgutils.alloca_once_value(builder, ir.Constant(_F32, 0.0)) for _ in sums]

        def step(column: Any, width: int) -> None:
            lanes = min(width, LANES)
            if width == line:
                for row in coming:
                    _touch(builder, row, column)
            totals = sums if lanes > 1 else tails
            for places in _pieces(builder, column, width, w.unit):
                values = [_widened(builder, inputs, at, x.dtype, lanes) for at in places]
                for weight, total in zip(weights, totals, strict=True):
                    terms = [_widened(builder, weight, at, w.dtype, lanes) for at in places]
                    found = builder.load(total)
                    term, value = terms[0], values[0]
                    if w.grouped:  # the group's sum of products first, then its scale, once
                        value = builder.fmul(term, value)
                        for more, other in zip(terms[1:], values[1:], strict=True):
                            value = _multiply_add(builder, more, other, value)
                        term = _splat(builder, w.scale(weight, places[0]), lanes)
                    builder.store(_multiply_add(builder, term, value, found), total)

        _column_loops(builder, x.columns, line, w.unit, step)
        target = out.row(b)
        for number, total, tail in zip(numbers, sums, tails, strict=True):
            result = builder.fadd(_halve(builder, builder.load(total)), builder.load(tail))
            builder.store(result, builder.gep(target, [number]))
        return context.get_dummy_value()

    return signature, generate


def _axpys(count: int) -> Any:
    @primitive
    def axpys(
        typing: Any, y: Any, b: Any, c: Any, w: Any, rows: Any, k: Any, ahead: Any, p: Any
    ) -> Any:
        signature = types.void(y, types.intp, c, w, rows, types.intp, ahead, types.intp)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            y, c, w, rows, ahead = (
                _Matrix(context, builder, signature.args[i], args[i]) for i in (0, 2, 3, 4, 6)
            )
            b, k, p = args[1], args[5], args[7]
            numbers = _listed(builder, rows, k, count)
            weights = [w.row(number) for number in numbers]
            coming = [ahead.row(number) for number in _listed(builder, rows, p, count)]
            target, coefficients = y.row(b), c.row(b)
            scalars = [builder.load(builder.gep(coefficients, [n])) for n in numbers]
            line = LINE // _BYTES[w.dtype]
            vectors = [_splat(builder, scalar, LANES) for scalar in scalars]

            def step(column: Any, width: int) -> None:
                lanes = min(width, LANES)
                if width == line:
                    for row in coming:
                        _touch(builder, row, column)
                for places in _pieces(builder, column, width, w.unit):
                    spots = [_address(builder, target, at, _F32, lanes) for at in places]
                    totals = [builder.load(spot, align=4) for spot in spots]
                    for weight, scalar, vector in zip(weights, scalars, vectors, strict=True):
                        factor = vector if lanes > 1 else scalar
                        if w.grouped:
                            scaled = builder.fmul(scalar, w.scale(weight, places[0]))
                            factor = _splat(builder, scaled, lanes)
                        for i, at in enumerate(places):
                            term = _widened(builder, weight, at, w.dtype, lanes)
                            totals[i] = _multiply_add(builder, factor, term, totals[i])
                    for total, spot in zip(totals, spots, strict=True):
                        builder.store(total, spot, align=4)

            _column_loops(builder, y.columns, line, w.unit, step)
            return context.get_dummy_value()

        return signature, generate

    return axpys


@primitive
def sum_block(typing: Any, w: Any, row: Any, ahead: Any, totals: Any) -> Any:
    """totals[:] += the sums of rows row … row+7, lane by lane: a read with nothing else to do."""
    signature = types.void(w, types.intp, types.intp, totals)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        w, totals = (_Matrix(context, builder, signature.args[i], args[i]) for i in (0, 3))
        block = [ir.Constant(_I64, i) for i in range(BLOCK)]
        rows, coming = ([w.row(builder.add(args[i], k)) for k in block] for i in (1, 2))
        zeros = ir.Constant(_kind(_F32, LANES), [0.0] * LANES)
        sums = [cgutils.alloca_once_value(builder, zeros) for _ in rows]

        def step(column: Any, width: int) -> None:
            if width == LANES:
                for row in coming:
                    _touch(builder, row, column)
                for row, total in zip(rows, sums, strict=True):
                    term = _widened(builder, row, column, w.dtype, LANES)
                    builder.store(builder.fadd(builder.load(total), term), total)

        _column_loops(builder, w.columns, LANES, LANES, step)
        place = builder.bitcast(totals.data, _kind(_F32, LANES).as_pointer())
        found = builder.load(place, align=4)
        for total in sums:
            found = builder.fadd(found, builder.load(total))
        builder.store(found, place, align=4)
        return context.get_dummy_value()

    return signature, generate


# axpys(y, b, c, w, rows, k, ahead, p): y[b] += c[b, r] · w[r], one row after the other, prefetching
# likewise.  Whether rows come one at a time or in blocks does not change a bit of either result.
axpy_block, axpy_single = _axpys(BLOCK), _axpys(1)


@primitive
def keep_apart(typing: Any) -> Any:
    """Forbid inlining the enclosing kernel: its vector code is compiled once, not at every call."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generate
