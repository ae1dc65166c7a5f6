import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpumod.bench.suites.quality.answer import Call
from gpumod.bench.suites.quality.calculator import calculate
from gpumod.bench.suites.quality.checkers.tools import EventText, MessageText, State
from gpumod.bench.suites.quality.conversation import Conversation, replay
from gpumod.bench.suites.quality.loading import script
from gpumod.bench.suites.quality.scenario import Scenario, Turn
from gpumod.bench.suites.quality.world import PARAMETERS, TOOLS, World, tool_definitions

DAY = "2026-01-05"


def scenario(world, *checks, prompts=("go",), most_turns=5):
    return Scenario("p", "s", "easy", prompts, None, [], world, most_turns, checks, (), ())


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3", 7),
        ("(1+2)*3", 9),
        ("7/2", 3.5),
        ("2**10", 1024),
        ("-3 + 1", -2),
        ("0.1+0.2", 0.3),
        ("7 % 4", 3),
    ],
)
def test_the_calculator(expression, value):
    assert calculate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "1 +",
        "a",
        "__import__('os')",
        "9**9**9",
        "1/0",
        "(-1)**0.5",
        "'a'*9",
        "True",
        "1e400",
        "(" * 150,
        "[1]",
    ],
)
def test_the_calculator_refuses_everything_else(expression):
    with pytest.raises(ValueError, match=r".+"):
        calculate(expression)


@given(st.text("0123456789+-*/().% e", max_size=30))
def test_no_expression_breaks_the_calculator(expression):
    answer = World().call("calculate", {"expression": expression})
    assert set(answer) <= {"value", "error"}


def test_notes_are_written_read_added_to_and_deleted():
    world = World(notes={"a": "1"})
    assert world.call("list_notes", {}) == {"notes": ["a"]}
    assert world.call("write_note", {"name": "b", "text": "x"}) == {"written": "b"}
    assert world.call("append_note", {"name": "b", "text": "y"}) == {"written": "b"}
    assert world.call("read_note", {"name": "b"}) == {"name": "b", "text": "x\ny"}
    assert world.call("delete_note", {"name": "a"}) == {"deleted": "a"}
    assert world.call("read_note", {"name": "a"}) == {"error": "there is no note 'a'"}


def test_the_calendar_takes_no_two_events_at_once_and_gives_no_id_twice():
    world = World()
    add = {"title": "a", "date": DAY, "start": "09:00", "end": "10:00"}
    assert world.call("add_event", add) == {"added": "e1"}
    assert world.call("add_event", {**add, "start": "09:30", "end": "11:00"}) == {
        "error": "overlaps e1 (a, 09:00 to 10:00)"
    }
    assert world.call("add_event", {**add, "start": "10:00", "end": "11:00"}) == {"added": "e2"}
    move = {"id": "e1", "date": DAY, "start": "09:15", "end": "09:45"}
    assert world.call("move_event", move) == {"moved": "e1"}
    assert "overlaps e2" in str(world.call("move_event", {**move, "end": "10:30"}))
    assert world.call("delete_event", {"id": "e2"}) == {"deleted": "e2"}
    assert world.call("add_event", {**add, "start": "12:00", "end": "13:00"}) == {"added": "e3"}
    assert [one["id"] for one in world.call("list_events", {"date": DAY})["events"]] == ["e1", "e3"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"date": "5 May"}, "date must be YYYY-MM-DD"),
        ({"start": "9:00"}, "start and end must be HH:MM"),
        ({"end": "08:00"}, "end must be after start"),
        ({"end": 10}, "must be text: end"),
        ({"room": "x"}, "unknown argument: room"),
    ],
)
def test_a_tool_says_what_is_wrong_with_its_arguments(change, said):
    arguments = {"title": "a", "date": DAY, "start": "09:00", "end": "10:00", **change}
    assert World().call("add_event", arguments) == {"error": said}


def test_what_is_no_tool_or_lacks_arguments_is_answered():
    assert World().call("fly", {}) == {"error": "there is no tool 'fly'"}
    assert World().call("read_note", {}) == {"error": "missing argument: name"}
    assert World().call("read_note", None) == {"error": "the arguments are not a JSON object"}


def test_the_search_finds_titles_before_texts_and_at_most_three():
    world = World(pages={"B": "red fox", "Fox": "an animal", "C": "fox", "D": "fox", "E": "dog"})
    assert [one["title"] for one in world.call("search", {"query": "Fox?"})["results"]] == ["Fox", "B", "C"]
    assert world.call("search", {"query": "cow"}) == {"results": []}


def test_messages_go_to_contacts_only():
    world = World(contacts={"Ann Lee": "ann@x.example"})
    assert world.call("find_contact", {"name": "ann"}) == {
        "contacts": [{"name": "Ann Lee", "address": "ann@x.example"}]
    }
    assert "error" in world.call("send_message", {"to": "Ann Lee", "text": "x"})
    assert world.call("send_message", {"to": "ann@x.example", "text": "x"}) == {"sent": "ann@x.example"}
    assert world.outbox == [("ann@x.example", "x")]


def test_a_tool_that_is_out_of_order_works_again_later():
    world = World(notes={"a": "1"}, faults={"read_note": 1})
    assert "temporarily unavailable" in str(world.call("read_note", {"name": "a"}))
    assert world.call("read_note", {"name": "a"}) == {"name": "a", "text": "1"}


def test_every_tool_is_described_with_all_its_parameters():
    assert set(TOOLS) == set(PARAMETERS) == {one["function"]["name"] for one in tool_definitions()}


def test_what_a_check_does_not_name_has_to_stay_as_it_was():
    start = World(notes={"a": "1", "b": "2"}, contacts={"x": "y"})
    start.add_event("t", DAY, "09:00", "10:00")

    def said(change, check):
        world = start.copy()
        change(world)
        made = replay(scenario(start, check), ())
        return check.complaint(type(made)("", world=world, start=start))

    assert said(lambda world: None, State()) is None
    assert said(lambda world: world.notes.pop("a"), State()) == "the note 'a' is missing"
    assert said(lambda world: world.notes.pop("a"), State(notes={"a": None})) is None
    assert said(lambda world: None, State(notes={"a": None})) == "the note 'a' is there"
    assert said(lambda world: world.notes.update(c="3"), State()) == "the note 'c' is there"
    assert said(lambda world: world.notes.update(b=" 3 "), State(notes={"b": ["2", "3"]})) is None
    assert said(lambda world: world.notes.update(b="the Xy"), State(has={"b": ["xy"]})) is None
    assert said(lambda world: None, State(has={"b": ["xy"]})) == "the note 'b' lacks 'xy'"
    assert said(lambda world: world.events.clear(), State())
    assert said(lambda world: world.events.clear(), State(events=[])) is None
    event = EventText(title="T", date=DAY, start="09:00", end="10:00")
    assert said(lambda world: None, State(events=[event])) is None
    assert said(lambda world: world.outbox.append(("y", "hi")), State()) == "a message to y is too many"
    message = State(messages=[MessageText(to="y", contains=["HI"])])
    assert said(lambda world: world.outbox.append(("y", "oh hi")), message) is None
    assert said(lambda world: None, message) == "no message to y has HI"


def test_an_agent_that_never_ends_is_stopped_and_is_wrong():
    endless = scenario(World(), State(), most_turns=3)
    conversation = Conversation(endless)
    seen = []
    for _ in range(3):
        seen.append(conversation.over)
        conversation.take(Turn(calls=(Call("list_notes", {}),)))
    assert [*seen, conversation.over] == [False, False, False, True]
    assert endless.complaints(conversation.answer) == ("still at work after 3 turns",)


def test_tool_results_go_back_under_the_ids_of_their_calls():
    conversation = Conversation(scenario(World(notes={"a": "1"}), State()))
    conversation.take(Turn("I look", (Call("list_notes", {}), Call("read_note", None))))
    _, assistant, first, second = conversation.messages
    assert [one["id"] for one in assistant["tool_calls"]] == [first["tool_call_id"], second["tool_call_id"]]
    assert assistant["tool_calls"][1]["function"]["arguments"] == "{}"
    assert first["content"] == '{"notes": ["a"]}'
    assert second["content"] == '{"error": "the arguments are not a JSON object"}'


def test_each_further_prompt_is_sent_once_the_model_has_answered():
    conversation = Conversation(scenario(None, prompts=("a", "b")))
    conversation.take(Turn("<think>x</think>1"))
    assert [one["content"] for one in conversation.messages] == ["a", "1", "b"]
    before = conversation.over
    conversation.take(Turn("2"))
    assert (before, conversation.over) == (False, True)
    assert (conversation.answer.text, conversation.answer.turns) == ("2", 2)


def test_scripts_are_texts_calls_and_lists_of_calls():
    assert script(["a", {"f": {"x": 1}}, [{"f": None}, {"g": {}}]]) == (
        Turn("a"),
        Turn(calls=(Call("f", {"x": 1}),)),
        Turn(calls=(Call("f", {}), Call("g", {}))),
    )
    no_scripts: tuple[object, ...] = (1, [2], {"f": 1}, {"f": {}, "g": {}})
    for wrong in no_scripts:
        with pytest.raises(ValueError, match="text or a tool call"):
            script(wrong)
