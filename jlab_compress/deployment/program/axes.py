"""Words for the axes of inputs and outputs whose lengths may change from run to run."""

BATCH = "batch"
SEQUENCE = "sequence"
