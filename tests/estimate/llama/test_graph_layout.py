"""How tensors share one buffer, and what is copied between backends."""

from hypothesis import given
from hypothesis import strategies as st

from gpumod.estimate.llama.graph.allocate import Backend, Space
from gpumod.estimate.llama.graph.node import (
    F16,
    F32,
    Graph,
    Node,
    like,
    make,
    matmul,
    permute,
    reshape,
    shape,
    view,
)
from gpumod.estimate.llama.graph.schedule import reserve

HOST = Backend(gpu=False, alignment=32)
CARD = Backend(gpu=True, alignment=128)
KIB = 1024


def value(count, *, home=-1):
    """An input of so many f32 values."""
    node = Node("none", F32, shape(count), home=home)
    node.input = True
    return node


def matrix(columns, rows, *, home=0, kind=F32):
    return Node("none", kind, shape(columns, rows), held=True, weight=True, home=home)


def on_host(*ends):
    graph = Graph()
    for end in ends:
        graph.expand(end)
    return reserve(graph, (HOST,))[0]


def test_an_operation_writes_over_a_source_that_nothing_else_needs():
    # The input, and one result that the next operation takes over: 1 KiB each.
    assert on_host(like("scale", make("cont", shape(256), value(256)))) == 2 * KIB


def spread_out():
    """A tensor of 1 KiB made of an input of 32 bytes."""
    return make("repeat", shape(256), value(8))


def test_a_source_that_is_needed_again_is_left_alone():
    assert on_host(like("scale", spread_out())) == 32 + KIB
    first = spread_out()
    assert on_host(like("add", like("scale", first), first)) == 32 + 2 * KIB


def test_an_operation_that_cannot_be_done_in_place_needs_room_of_its_own():
    first = make("cont", shape(256), value(256))
    # The input's place is free again when the second copy is made.
    assert on_host(make("cont", shape(256), make("cont", shape(256), first))) == 2 * KIB


def test_an_output_keeps_its_place():
    first = make("cont", shape(256), value(256))
    first.output = True
    last = make("cont", shape(256), like("scale", first))
    last.output = True
    assert on_host(last) == 3 * KIB


def test_a_view_keeps_what_it_shows():
    half = view(spread_out(), shape(128))
    copied = make("cont", shape(128), half)
    # The whole is there while the half is copied, and makes room for what comes then.
    assert on_host(make("cont", shape(256), copied)) == 32 + KIB + 512
    half = view(spread_out(), shape(128))
    other = make("cont", shape(256), make("cont", shape(128), half))
    # Here it is needed at the end again: nothing can be put in its place.
    assert on_host(make("concat", shape(384), other, half)) == 32 + KIB + 512 + KIB + 1536


def test_sizes_are_rounded_up_to_the_backend_s_alignment():
    node = value(1)
    assert on_host(make("cont", shape(1), node)) == 64


def test_a_tensor_of_halves_takes_half():
    graph = Graph()
    graph.expand(make("cpy", shape(256), value(256), kind=F16))
    assert reserve(graph, (HOST,)) == (KIB + 512,)


def test_a_moved_tensor_has_the_bytes_between_its_first_and_last_value():
    node = make("cont", shape(4, 8, 2), value(64))
    assert permute(node, 0, 2, 1, 3).ne == (4, 2, 8, 1)
    assert permute(node, 0, 2, 1, 3).size == node.size == 256
    assert reshape(node, 64).is_contiguous()


def test_a_card_gets_a_copy_of_what_the_host_has():
    graph = Graph()
    graph.expand(matmul(matrix(256, 512), value(256)))
    # On the card the copy of the input and the result, on the host the input.
    assert reserve(graph, (CARD, HOST)) == (KIB + 2 * KIB, KIB)


def test_large_batches_take_a_matrix_of_the_host_to_the_first_card():
    def sizes(tokens, *, offload=True):
        graph = Graph()
        batch = Node("none", F32, shape(256, tokens))
        batch.input = True
        graph.expand(matmul(matrix(256, 512, home=2), batch))
        return reserve(graph, (CARD, CARD, HOST), offload=offload)

    weight, given_, made = 256 * 512 * 4, 256 * 32 * 4, 512 * 32 * 4
    assert sizes(32) == (weight + given_ + made, 0, given_)
    assert sizes(31)[:2] == (0, 0)
    assert sizes(32, offload=False)[:2] == (0, 0)


def test_two_cards_hand_over_what_the_second_needs():
    graph = Graph()
    first = matmul(matrix(256, 256), value(256))
    graph.expand(matmul(matrix(256, 256, home=1), first))
    assert reserve(graph, (CARD, CARD, HOST)) == (2 * KIB, 2 * KIB, KIB)


def test_a_pipeline_has_every_copy_four_times_and_gives_none_back():
    graph = Graph()
    first = matmul(matrix(256, 256), value(256))
    graph.expand(matmul(matrix(256, 256, home=1), first))
    # The host has the input and three more of it.
    assert reserve(graph, (CARD, CARD, HOST), pipeline=True) == (5 * KIB, 5 * KIB, 4 * KIB)


def test_a_card_keeps_what_a_later_operation_of_its_own_needs():
    def size(*, keeps):
        graph = Graph()
        first = matmul(matrix(32, 256), value(32))
        last = like("scale", like("scale", first))
        graph.expand(last)
        if keeps:
            graph.keep((first,), last)
        return reserve(graph, (CARD, HOST))[0]

    assert size(keeps=True) == size(keeps=False) + KIB


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 4096)), max_size=60))
def test_no_two_tensors_share_a_byte(steps):
    space = Space(32)
    held: list[tuple[int, int]] = []
    for gives, size in steps:
        if gives and held:
            space.give(*held.pop(size % len(held)))
            continue
        padded = space.padded(size)
        address = space.take(padded)
        assert all(address + padded <= other or other + length <= address for other, length in held)
        held.append((address, padded))
        assert address + padded <= space.top
    for address, size in held:
        space.give(address, size)
    # Everything is one gap again: what fits is put at the beginning.
    assert space.take(space.top or 32) == 0
