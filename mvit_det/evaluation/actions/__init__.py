"""Frame mAP of AVA, as its official scorer computes it."""
