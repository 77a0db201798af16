import torch


def wrong_all_in_the_left(weight, rank):
    """Fails test_truncated_svd_shares_the_singular_values_out: document 001's way, S whole in one of the factors."""
    U, S, Vh = torch.linalg.svd(weight.detach().float(), full_matrices=False)
    return (U[:, :rank] * S[:rank]).to(weight.dtype), Vh[:rank].to(weight.dtype)


def wrong_s_in_both(weight, rank):
    """Fails test_truncated_svd_gives_two_thin_matrices: S without the root in both factors counts twice."""
    U, S, Vh = torch.linalg.svd(weight.detach().float(), full_matrices=False)
    return (U[:, :rank] * S[:rank]).to(weight.dtype), (S[:rank, None] * Vh[:rank]).to(weight.dtype)


def wrong_forgets_s(weight, rank):
    """Fails test_truncated_svd_gives_two_thin_matrices: the directions without their sizes."""
    U, _, Vh = torch.linalg.svd(weight.detach().float(), full_matrices=False)
    return U[:, :rank].to(weight.dtype), Vh[:rank].to(weight.dtype)


def wrong_smallest(weight, rank):
    """Fails test_truncated_svd_is_the_nearest_of_its_rank: keeps the last singular values, which are the smallest."""
    U, S, Vh = torch.linalg.svd(weight.detach().to(torch.promote_types(weight.dtype, torch.float32)), full_matrices=False)
    root = S[-rank:].sqrt()
    return (U[:, -rank:] * root).to(weight.dtype), (root[:, None] * Vh[-rank:]).to(weight.dtype)


def wrong_columns_of_vh(weight, rank):
    """Fails test_truncated_svd_gives_two_thin_matrices: takes V^T for V, its columns for its rows."""
    U, S, V = torch.linalg.svd(weight.detach().float(), full_matrices=False)
    root = S[:rank].sqrt()
    return (U[:, :rank] * root).to(weight.dtype), (V[:, :rank] * root).T.to(weight.dtype)


def wrong_keeps_the_gradient(weight, rank):
    """Fails test_truncated_svd_gives_two_thin_matrices: the factors hang on the graph of the weight."""
    U, S, Vh = torch.linalg.svd(weight.float(), full_matrices=False)
    root = S[:rank].sqrt()
    return (U[:, :rank] * root).to(weight.dtype), (root[:, None] * Vh[:rank]).to(weight.dtype)


def wrong_first_rows(weight, rank):
    """Fails test_truncated_svd_is_the_nearest_of_its_rank: some rank rows of the weight, and the others as sums of them."""
    plain = weight.detach().to(torch.promote_types(weight.dtype, torch.float32))
    rows = plain[:rank]
    return (plain @ torch.linalg.pinv(rows)).to(weight.dtype), rows.to(weight.dtype)


def wrong_one_power_step(weight, rank):
    """Fails test_truncated_svd_is_the_nearest_of_its_rank: a randomized SVD with too few steps for this size."""
    plain = weight.detach().to(torch.promote_types(weight.dtype, torch.float32))
    U, S, V = torch.svd_lowrank(plain, q=rank, niter=1)
    return (U * S.sqrt()).to(weight.dtype), (S.sqrt()[:, None] * V.T).to(weight.dtype)


def wrong_float32(weight, rank):
    """Fails test_truncated_svd_of_drawn_matrices: makes float32 of everything, float64 too."""
    left, right = right_diag(weight.detach().float(), rank)
    return left.to(weight.dtype), right.to(weight.dtype)


def wrong_randomized(weight, rank):
    """Fails test_truncated_svd_is_the_nearest_of_its_rank: svd_lowrank is fast, and only near the nearest."""
    U, S, V = torch.svd_lowrank(weight.detach().to(torch.promote_types(weight.dtype, torch.float32)), q=rank)
    left, right = U * S.sqrt(), (V * S.sqrt()).T
    return left.to(weight.dtype), right.to(weight.dtype)


def wrong_random_numbers_used_up(weight, rank):
    """Fails test_truncated_svd_gives_two_thin_matrices: exact by many steps, but it moves the caller's random numbers on."""
    q = min(weight.shape)
    U, S, V = torch.svd_lowrank(weight.detach().to(torch.promote_types(weight.dtype, torch.float32)), q=q, niter=60)
    left, right = U[:, :rank] * S[:rank].sqrt(), (V[:, :rank] * S[:rank].sqrt()).T
    return left.to(weight.dtype), right.to(weight.dtype)


def right_diag(weight, rank):
    U, S, Vh = torch.linalg.svd(weight.detach().to(torch.promote_types(weight.dtype, torch.float32)))
    root = torch.diag(S[:rank] ** 0.5)
    return (U[:, :rank] @ root).to(weight.dtype), (root @ Vh[:rank]).to(weight.dtype)


def right_through_eigenvectors(weight, rank):
    """The eigenvectors of W W^T are the left singular vectors; float64, since squares lose digits."""
    plain = weight.detach().double()
    values, vectors = torch.linalg.eigh(plain @ plain.T)  # smallest first
    U, S = vectors.flip(1)[:, :rank], values.flip(0)[:rank].clamp(min=0).sqrt()
    left, right = U * S.sqrt(), (U / S.sqrt()).T @ plain
    return left.to(weight.dtype), right.to(weight.dtype)
