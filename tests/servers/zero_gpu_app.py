"""The app as on a ZeroGPU Space, on a machine without CUDA: `spaces` is the real one but for what asks the GPU's driver.

Its worker processes are real: forked, with pickled arguments and answers. Only the weights stay where they are.
"""

import torch


def no_cuda() -> bool:
    """Stands where PyTorch for the CPU has nothing, or nothing that another process can be given."""
    return False


if not torch.backends.cuda.is_built():
    torch.version.cuda = "13.0"
    torch._C._cuda_init = no_cuda
    torch.cuda._is_in_bad_fork = no_cuda

import spaces.zero.torch as driver  # noqa: E402

driver.init = lambda nvidia_uuid: None
driver.move = lambda callback=None: None

import app  # noqa: E402

if __name__ == "__main__":
    app.main()
