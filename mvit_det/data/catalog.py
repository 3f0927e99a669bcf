"""Data set names in Detectron2's catalogs."""

from detectron2.data import DatasetCatalog, MetadataCatalog

from mvit_det.errors import UserError

OWNER = "mvit_det"


def free_name(name: str) -> None:
    """Remove an earlier entry of this package, so that ``name`` can be registered again.

    The new entry must be marked with ``registered_by=OWNER``.

    Raises:
        UserError: the name belongs to an entry that is not from this package.
    """
    if name not in {*DatasetCatalog.list(), *MetadataCatalog.list()}:
        return
    if MetadataCatalog.get(name).get("registered_by", None) != OWNER:
        raise UserError(f"The dataset name {name!r} is taken by Detectron2: choose another.")
    if name in DatasetCatalog.list():
        DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)
