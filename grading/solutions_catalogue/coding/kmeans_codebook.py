import torch
from sklearn.cluster import KMeans

from tinyshrink import coding
from tinyshrink.coding import initial_centroids


def _lloyd(values, centroids, rounds=50):
    flat = values.detach().flatten().double()
    for _ in range(rounds):
        cells = (flat[:, None] - centroids).abs().argmin(1)
        centroids = torch.stack([flat[cells == i].mean() for i in range(len(centroids)) if (cells == i).any()])
    cells = (flat[:, None] - centroids).abs().argmin(1)
    return centroids.to(values.dtype), cells.view(values.shape)


def wrong_no_rounds(values, bits, init="linear"):
    """Fails test_kmeans_codebook_by_hand: the start is taken for the result, an even grid over the range."""
    distinct = values.detach().unique()
    if len(distinct) <= 2**bits:
        return distinct, torch.searchsorted(distinct, values.detach())
    codebook = coding.initial_centroids(values.detach().flatten(), 2**bits, init)
    return codebook, (values[..., None] - codebook).abs().argmin(-1)


def wrong_one_round(values, bits, init="linear"):
    """Fails test_kmeans_codebook_shares_with_the_nearest: moves the centroids once and stops."""
    distinct = values.detach().unique()
    if len(distinct) <= 2**bits:
        return distinct, torch.searchsorted(distinct, values.detach())
    return _lloyd(values, coding.initial_centroids(values.detach().flatten().double(), 2**bits, init), rounds=1)


def wrong_empty_centroids_are_nan(values, bits, init="linear"):
    """Fails test_kmeans_codebook_drops_what_nobody_uses: the mean of no values is NaN, and it stays in the codebook."""
    flat = values.detach().flatten()
    if len(flat.unique()) <= 2**bits:
        return flat.unique(), torch.searchsorted(flat.unique(), values.detach())
    centroids = coding.initial_centroids(flat.double(), 2**bits, init)
    for _ in range(50):
        cells = (flat[:, None] - centroids).abs().nan_to_num(torch.inf).argmin(1)
        centroids = torch.stack([flat[cells == i].double().mean() for i in range(len(centroids))])
    return centroids.to(values.dtype), cells.view(values.shape)


def wrong_indices_are_bytes(values, bits, init="linear"):
    """Fails test_kmeans_codebook_shares_with_the_nearest: uint8, where the index 256 becomes 0 and a tensor is a mask."""
    codebook, indices = right_distances(values, bits, init)
    return codebook, indices.to(torch.uint8)


def wrong_twice_as_many(values, bits, init="linear"):
    """Fails test_kmeans_codebook_shares_with_the_nearest: takes 2 * bits centroids for 2**bits."""
    distinct = values.detach().unique()
    if len(distinct) <= 2 * bits:
        return distinct, torch.searchsorted(distinct, values.detach())
    return _lloyd(values, coding.initial_centroids(values.detach().flatten().double(), 2 * bits, init))


def wrong_one_index_too_many(values, bits, init="linear"):
    """Fails test_kmeans_codebook_shares_with_the_nearest: 2**bits + 1 centroids, so that the last index needs one bit more."""
    distinct = values.detach().unique()
    if len(distinct) <= 2**bits:
        return distinct, torch.searchsorted(distinct, values.detach())
    return _lloyd(values, coding.initial_centroids(values.detach().flatten().double(), 2**bits + 1, init))


def wrong_flat_indices(values, bits, init="linear"):
    """Fails test_kmeans_codebook_shares_with_the_nearest: the indices lose the shape of the values."""
    codebook, indices = right_distances(values, bits, init)
    return codebook, indices.flatten()


def wrong_always_all_centroids(values, bits, init="linear"):
    """Fails test_kmeans_codebook_drops_what_nobody_uses: no case for few values, whose codebook is then not exact."""
    if values.numel() == 0:
        return values, values.long()
    start = torch.linspace(float(values.min()) - 1, float(values.max()) + 1, 2**bits).double()
    return _lloyd(values + 1e-3, start)


def wrong_quantiles_for_every_start(values, bits, init="linear"):
    """Fails test_kmeans_codebook_by_hand: looks at medians, the middle value in place of the mean."""
    flat = values.detach().flatten()
    if len(flat.unique()) <= 2**bits:
        return flat.unique(), torch.searchsorted(flat.unique(), values.detach())
    centroids = coding.initial_centroids(flat.double(), 2**bits, init)
    for _ in range(50):
        cells = (flat[:, None] - centroids).abs().argmin(1)
        centroids = torch.stack([flat[cells == i].double().median() for i in range(len(centroids)) if (cells == i).any()])
    return centroids.to(values.dtype), (flat[:, None] - centroids).abs().argmin(1).view(values.shape)


def right_distances(values, bits, init="linear"):
    distinct = values.detach().unique()
    if len(distinct) <= 2**bits:
        return distinct, torch.searchsorted(distinct, values.detach())
    return _lloyd(values, coding.initial_centroids(values.detach().flatten().double(), 2**bits, init))


def right_scikit_learn(values, bits, init="linear"):
    flat = values.detach().flatten().double()
    codebook = flat.unique()
    if len(codebook) > 2**bits:
        start = coding.initial_centroids(flat, 2**bits, init)
        used = (flat[:, None] - start).abs().argmin(1).unique()  # scikit-learn would move an empty one elsewhere
        found = KMeans(len(used), init=start[used, None].numpy(), n_init=1, tol=0).fit(flat[:, None].numpy())
        codebook = torch.from_numpy(found.cluster_centers_[:, 0]).unique()
    codebook = codebook.to(values.dtype)
    if not len(codebook):
        return codebook, torch.zeros(values.shape, dtype=torch.int64)
    used, indices = (values.detach()[..., None] - codebook).abs().argmin(-1).unique(return_inverse=True)
    return codebook[used], indices


def _lloyd_with(values, bits, init, rounds=50, right=False, dtype=torch.float64, keep_empty=False):
    flat = values.detach().reshape(-1)
    codebook = flat.unique()
    if len(codebook) > 2**bits:
        exact = flat.to(dtype)
        centroids = initial_centroids(exact, 2**bits, init)
        for _ in range(rounds):
            cells = torch.bucketize(exact, (centroids[1:] + centroids[:-1]) / 2, right=right)
            sums, counts = torch.bincount(cells, exact), torch.bincount(cells)
            new = (sums / counts)[counts > 0].to(dtype)
            if len(new) == len(centroids) and torch.equal(new, centroids):
                break
            centroids = new
        codebook = centroids.to(values.dtype).unique()
    wide = codebook.double()
    indices = torch.bucketize(flat.double(), (wide[1:] + wide[:-1]) / 2, right=right)
    used, indices = indices.unique(return_inverse=True)
    return codebook[used], indices.reshape(values.shape)


def wrong_upper_of_two(values, bits, init="linear"):
    """Fails test_kmeans_codebook_by_hand: a value in the middle goes to the upper centroid."""
    return _lloyd_with(values, bits, init, right=True)


def wrong_codebook_in_float32(values, bits, init="linear"):
    """Fails test_kmeans_codebook_shares_with_the_nearest: float32 whatever the values have."""
    codebook, indices = _lloyd_with(values.float(), bits, init)
    return codebook, indices


def wrong_ignores_init(values, bits, init="linear"):
    """Fails test_kmeans_codebook_by_hand: always linear."""
    return _lloyd_with(values, bits, "linear")


def wrong_view(values, bits, init="linear"):
    """Fails test_kmeans_codebook_shares_with_the_nearest: view(-1) stops at a tensor that is not contiguous."""
    codebook, indices = _lloyd_with(values.view(-1), bits, init)
    return codebook, indices.view(values.shape)


def wrong_as_many_values_as_centroids(values, bits, init="linear"):
    """Fails test_kmeans_codebook_drops_what_nobody_uses: keeps fewer than 2**bits values as they are, but not just as many."""
    distinct = values.detach().unique()
    if len(distinct) < 2**bits:
        return distinct, torch.searchsorted(distinct, values.detach())
    return _lloyd(values, coding.initial_centroids(values.detach().flatten().double(), 2**bits, init))
