import pytest

from gpumod.hardware.detect import has_nvidia_device, open_hardware
from gpumod.hardware.host import HostHardware
from gpumod.hardware.nvml import NvmlHardware
from gpumod.hardware.settings import CardKind, HardwareSettings
from gpumod.testing.clock import FakeClock


def add_device(root, address, vendor, device_class):
    folder = root / "sys/bus/pci/devices" / address
    folder.mkdir(parents=True)
    (folder / "vendor").write_text(f"{vendor}\n")
    (folder / "class").write_text(f"{device_class}\n")


@pytest.mark.parametrize(
    ("vendor", "device_class", "found"),
    [
        ("0x10de", "0x030000", True),  # VGA controller
        ("0x10de", "0x030200", True),  # 3D controller, as data centre cards are
        ("0x10de", "0x040300", False),  # a card's audio function
        ("0x1002", "0x030000", False),  # somebody else's GPU
    ],
)
def test_a_gpu_of_nvidia_on_the_bus_is_noticed(tmp_path, vendor, device_class, found):
    add_device(tmp_path, "0000:00:02.0", "0x8086", "0x060000")
    add_device(tmp_path, "0000:01:00.0", vendor, device_class)
    assert has_nvidia_device(str(tmp_path)) is found


def test_wsl2_has_no_device_on_the_bus_and_is_noticed_by_its_own(tmp_path):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/dxg").touch()
    assert has_nvidia_device(str(tmp_path))


def test_a_box_without_pci_has_none(tmp_path):
    assert not has_nvidia_device(str(tmp_path))


@pytest.mark.parametrize(
    ("cards", "device", "adapter"),
    [
        (CardKind.AUTO, True, NvmlHardware),
        (CardKind.AUTO, False, HostHardware),
        (CardKind.HOST, True, HostHardware),
        (CardKind.NVIDIA, False, NvmlHardware),
    ],
)
async def test_the_host_is_the_card_only_without_a_device_or_when_configured(
    tmp_path, cards, device, adapter
):
    if device:
        add_device(tmp_path, "0000:01:00.0", "0x10de", "0x030000")
    hardware = open_hardware(HardwareSettings(cards=cards, root=str(tmp_path)), FakeClock())
    assert type(hardware) is adapter
    await hardware.close()
