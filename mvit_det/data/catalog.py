"""Names in Detectron2's catalogs of data sets."""

from detectron2.data import DatasetCatalog, MetadataCatalog

from mvit_det.errors import UserError

OWNER = "mvit_det"


def free_name(name: str) -> None:
    """Remove an earlier entry of ours, so that ``name`` can be registered; others stay.

    Mark the new entry by ``registered_by=OWNER``.
    """
    if name not in {*DatasetCatalog.list(), *MetadataCatalog.list()}:
        return
    if MetadataCatalog.get(name).get("registered_by", None) != OWNER:
        raise UserError(f"The dataset name {name!r} is taken by Detectron2: choose another.")
    if name in DatasetCatalog.list():
        DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)
