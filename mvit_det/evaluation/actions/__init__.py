"""Frame mAP of AVA, as the official scorer computes it."""
