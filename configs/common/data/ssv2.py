"""Something-Something-v2, as the released configs train and test on it."""

from detectron2.config import LazyCall as L

from mvit_det.data import SegmentSampling

from .kinetics import dataloader, use_views

train_videos = 168_913

for _split, _loader in (("train", dataloader.train), ("validation", dataloader.test)):
    _loader.dataset.update(
        source=f"ssv2/something-something-v2-{_split}.json", name=f"ssv2_{_split}", classes=None
    )

# One frame from each of T equal segments of the video. No mirroring: left and right are classes.
# The paper (appendix B.5) crops as on Kinetics: dataloader.train.mapper.transform.crop=inception
dataloader.train.mapper.sampling = L(SegmentSampling)(num_frames="${model.backbone.input_size[0]}")
# The released code reads unpacked frames at their stored size here.
dataloader.train.mapper.resize_on_decoding = False
dataloader.train.mapper.transform.update(crop="short_side_jitter", short_side=(256, 320), hflip=0.0)
dataloader.train.repeats = 1
dataloader.train.total_batch_size = 128
use_views(dataloader, clips=1, crops=3)
