from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tcsql.storage.memory import Budget, available_bytes, cgroup_bytes, default_limit, resident_bytes


def make(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_version_2_takes_the_tightest_limit_on_the_way_up(tmp_path: Path) -> None:
    root = make(
        tmp_path,
        {
            "proc/self/cgroup": "0::/app/web\n",
            "sys/fs/cgroup/app/web/memory.max": "max\n",
            "sys/fs/cgroup/app/memory.max": "4000\n",
            "sys/fs/cgroup/memory.max": "9000\n",
        },
    )
    assert cgroup_bytes(root) == 4000


def test_version_1_finds_the_memory_controller(tmp_path: Path) -> None:
    root = make(
        tmp_path,
        {
            "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n",
            # inside a container the mount shows its own group at the top, the path of the host does not exist
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "7000\n",
        },
    )
    assert cgroup_bytes(root) == 7000


def test_without_cgroups_there_is_no_limit_but_the_machine(tmp_path: Path) -> None:
    assert cgroup_bytes(tmp_path) >= 1 << 60
    assert 0 < default_limit() < available_bytes() < 1 << 60


def test_resident_bytes_is_what_this_process_occupies() -> None:
    before = resident_bytes()
    block = bytearray(64 << 20)
    block[::4096] = b"x" * len(block[::4096])
    assert 60 << 20 <= resident_bytes() - before <= 80 << 20


class Process:
    def __init__(self) -> None:
        self.held = self.resident = 0
        self.now = 0.0
        self.looks = 0
        self.budget = Budget(100, lambda: self.held, self.look, lambda: self.now)

    def look(self) -> int:
        self.looks += 1
        return self.resident

    def full(self, held: int, resident: int) -> bool:
        self.held, self.resident = held, resident
        self.now += 0.06
        return self.budget.is_full()


def test_tables_above_the_limit_are_full() -> None:
    process = Process()
    assert not process.full(held=99, resident=50)
    assert process.full(held=101, resident=50)


def test_deleting_makes_room_although_the_process_does_not_shrink() -> None:
    process = Process()
    assert process.full(held=60, resident=101)
    assert not process.full(held=50, resident=101)
    assert process.full(held=60, resident=101)
    assert not process.full(held=60, resident=99)


def test_the_answer_is_kept_for_50_ms() -> None:
    process = Process()
    process.full(held=0, resident=0)
    process.held = 1000
    process.now += 0.03
    assert not process.budget.is_full()
    process.now += 0.03
    assert process.budget.is_full()
    assert process.looks == 2


LEFT_OVER = """
from tcsql.storage import memory
memory.tune_process()
for size in (8, 16, 30):
    bytearray(size << 20)  # freeing these makes the C library keep larger and larger blocks
before = memory.resident_bytes()
blocks = [bytearray(4 << 20) for _ in range(20)]
for block in blocks:
    block[::4096] = bytes(len(block[::4096]))
behind = bytearray(100_000)
del block, blocks
print(memory.resident_bytes() - before)
"""


def test_freed_blocks_go_back_to_the_system_at_once() -> None:
    left = subprocess.run([sys.executable, "-c", LEFT_OVER], capture_output=True, text=True, check=True).stdout
    assert int(left) < 8 << 20
