import pytest, signal
from node import MemoryNode, NodeClient
from tests.support.settings import MakeConfig
from tests.support.members import member_process
from tests.support.waiting import wait_for


@pytest.mark.processes
def test_x(make_config: MakeConfig):
    config = make_config()
    with (
        MemoryNode("a", config=config) as a,
        member_process("b", config) as b,
        NodeClient("b", config=config) as bc,
    ):
        bc.remember("Zebra crossing", tags=["zebra"])
        wait_for(lambda: a.who_knows("zebra", via="gossip").leads)
        print(a.who_knows("zebra"))
