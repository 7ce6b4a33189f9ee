//! Size limits on what arrives from the other side. Both ends keep the same figures, so that a request which a
//! client can send is one that a node can read.

/// Largest JSON request body. Docker has no explicit limit for most routes; a service specification with every
/// field in use stays below 64 KiB, a 500 KiB secret or config becomes 667 KiB in base64. 4 MiB leaves room for both
/// and is also the largest message that swarm's own store accepts.
pub const MAX_JSON_BODY: usize = 4 * 1024 * 1024;

/// Largest image archive of `docker load`. The archive is streamed to disk, so this guards the disk, not memory.
pub const MAX_IMAGE_ARCHIVE: u64 = 8 * 1024 * 1024 * 1024;

/// Largest JSON answer that a client keeps in memory. `docker service ps` of a service with 10 000 tasks is
/// about 20 MiB.
pub const MAX_JSON_RESPONSE: usize = 256 * 1024 * 1024;

/// Longest query string that is parsed.
pub const MAX_QUERY: usize = 64 * 1024;

/// Most `key=value` pairs in a query string.
pub const MAX_QUERY_PAIRS: usize = 256;

/// Longest `filters` JSON document.
pub const MAX_FILTERS: usize = 32 * 1024;

/// Most values in one `filters` document, over all keys.
pub const MAX_FILTER_VALUES: usize = 1024;

/// Largest payload of one frame of the multiplexed stream. Engines write at most 16 KiB per frame for logs and
/// 32 KiB for attach; a header that claims more than this is a corrupt stream, not a long line.
pub const MAX_FRAME: usize = 16 * 1024 * 1024;

/// Longest line of a JSON stream (`events`, `load`, `stats`).
pub const MAX_STREAM_LINE: usize = 1024 * 1024;

/// Largest secret (swarmkit's `MaxSecretSize`).
pub const MAX_SECRET: usize = 500 * 1024;

/// Largest config (swarmkit's `MaxConfigSize`).
pub const MAX_CONFIG: usize = 1000 * 1024;
