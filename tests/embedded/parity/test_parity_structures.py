"""Structures and layers of the embedded host against the real Detectron2, on random inputs."""

import pytest
import torch
from hosts import both_hosts

STRUCTURES = """
import numpy as np
import torch
from detectron2.structures import *
from detectron2.layers import *

torch.set_num_threads(1)
values, keys = {}, {}
for seed in range(2):
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)

    def random_boxes(n, low=-20, high=120):
        corners = torch.from_numpy(rng.uniform(low, high, (n, 2, 2))).float()
        if seed % 2:
            corners = corners.round()
        return Boxes(torch.cat((corners.amin(1), corners.amax(1)), dim=1))

    a, b = random_boxes(40), random_boxes(30)
    out = {"iou": pairwise_iou(a, b), "area": a.area(), "centers": a.get_centers()}
    out["nonempty"] = a.nonempty(10.0)
    clipped = a[:]
    clipped.clip((77, 91))
    out["clipped"] = clipped.tensor
    triple = (0.1, 20.7, 3.3, 5.9)
    out["mode"] = [
        BoxMode.convert(box, source, target)
        for box in (triple, list(triple), np.array([triple]), torch.tensor([triple]))
        for source, target in ((BoxMode.XYWH_ABS, BoxMode.XYXY_ABS), (1, 0), (0, 1))
    ]

    polygons = []
    for k in range(12):
        parts = []
        for _ in range(1 + k % 3):
            n = int(rng.integers(3, 12))
            # some are left of the image, some exceed it
            center = rng.uniform(-30, 100, 2) if k % 4 else np.array([-40.0, 30.0])
            parts.append((center + rng.normal(0, 15, (n, 2))).ravel())
        polygons.append(parts)
    masks = PolygonMasks(polygons)
    frames = masks.get_bounding_boxes()
    out["polygon_boxes"] = frames.tensor
    jittered = frames.tensor + torch.from_numpy(rng.normal(0, 4, (12, 4))).float()
    jittered[0] = 0.0  # an empty box
    jittered[1, 2:] = jittered[1, :2] + 0.03
    out["polygon_crops"] = masks.crop_and_resize(jittered, 28)
    bitmaps = BitMasks(np.stack([polygons_to_bitmask(parts, 80, 90) for parts in polygons]))
    out["bitmaps"] = bitmaps.tensor
    out["bitmap_boxes"] = bitmaps.get_bounding_boxes().tensor
    out["bitmap_crops"] = bitmaps.crop_and_resize(random_boxes(12).tensor, 14)

    images = [torch.rand(3, *rng.integers(20, 50, 2)) for _ in range(3)]
    batch = ImageList.from_tensors(images, 32)
    out["batch"], out["sizes"] = batch.tensor, batch.image_sizes

    soft = torch.rand(40, 28, 28)
    touching = random_boxes(40, 0, 70).tensor + torch.tensor([-10.0, -10, 10, 10])
    for threshold in (0.5, 0.2):
        out[f"pasted{threshold}"] = paste_masks_in_image(soft, touching, (77, 91), threshold)
    scores = torch.rand(40)
    out["nms"] = batched_nms(a.tensor, scores, torch.arange(40) % 3, 0.3)
    for name in ("BN", "GN", "LN", "naiveSyncBN", "naiveSyncBN_N"):
        torch.manual_seed(seed)
        norm = get_norm(name, 64)
        state = {k: torch.rand_like(v.float()) + 0.5 for k, v in norm.state_dict().items()}
        norm.load_state_dict(state)
        x = torch.randn(2, 64, 5, 6, requires_grad=True)
        y = norm(x)
        (y**3).mean().backward()
        keys[name] = list(state)
        out[name] = (y.detach(), x.grad, norm.eval()(x).detach())
    values[seed] = out
"""


NAIVE_SYNC_BN = """
import multiprocessing, os, tempfile, torch
import torch.distributed as dist
from detectron2.layers import NaiveSyncBatchNorm


def work(rank, store, queue):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    results = []
    for mode, sizes in (("", [(2, 2), (2, 3)]), ("N", [(2, 3), (0, 2), (1, 0), (0, 0)])):
        torch.manual_seed(rank)
        norm = NaiveSyncBatchNorm(3, stats_mode=mode)
        norm.weight.data.uniform_(0.5, 1.5)
        for batch in sizes:
            x = torch.randn(batch[rank], 3, 4, 5, requires_grad=True)
            y = norm(x)
            (y**3).sum().backward()
            results.append([y.detach().numpy(), x.grad.numpy(), norm.weight.grad.numpy().copy()])
            results[-1] += [norm.running_mean.numpy().copy(), norm.running_var.numpy().copy()]
        results.append(norm.num_batches_tracked.item())
        results.append(norm(x.detach().half()).dtype == torch.float16)
    queue.put((rank, results))
    dist.destroy_process_group()


torch.set_num_threads(1)
context = multiprocessing.get_context("fork")
queue = context.Queue()
store = tempfile.mktemp()
workers = [context.Process(target=work, args=(rank, store, queue)) for rank in range(2)]
for worker in workers:
    worker.start()
synced = dict(queue.get(timeout=60) for _ in workers)
for worker in workers:
    worker.join()
os.path.exists(store) and os.remove(store)
"""


@pytest.fixture(scope="module")
def results():
    """Return the results of both scripts: ((values, keys, synced), (values, keys, synced))."""
    return both_hosts(STRUCTURES + NAIVE_SYNC_BN + "result = values, keys, synced")


def test_structures_and_layers_agree(results):
    (real, real_keys, _), (ours, our_keys, _) = results
    assert our_keys == real_keys
    # the comparison is not trivial
    assert 0.05 < real[0]["polygon_crops"].float().mean() < 0.95
    assert (real[0]["iou"] > 0).float().mean() > 0.05 and len(real[0]["nms"]) < 40
    # boolean and integer results must be equal; floats to rounding
    torch.testing.assert_close(ours, real, rtol=1e-6, atol=2e-6)


def test_naive_sync_bn_agrees_over_two_processes(results):
    (_, _, real), (_, _, ours) = results
    for rank in range(2):
        torch.testing.assert_close(ours[rank], real[rank], rtol=1e-4, atol=1e-4)
