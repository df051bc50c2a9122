//! What runs inside Redis. All keys of one call share a slot.
//!
//! Strings are read with MGET, which gives nothing for a key of another type
//! where GET would fail. Versions are compared byte by byte, since Lua compares
//! strings by the server's locale.

/// The functions that the scripts share.
macro_rules! library {
    ($($script:expr),*) => {
        concat!(
            r"
local function get(key) return redis.call('MGET', key)[1] end
local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
local function below(a, b)
  for n = 1, 16 do
    local x, y = string.byte(a, n), string.byte(b, n)
    if x ~= y then return x < y end
  end
  return false
end
-- Until when a floor lasts; one that is none of ours is over.
local function until_when(floor) return tonumber(string.sub(floor, 1, 16)) or 0 end
-- Since when the floors are known, and that of one key. What is no hash is dropped.
local function floors(key, name, at)
  local found = redis.pcall('HMGET', key, 'since', 'k' .. name)
  if found.err then
    redis.call('UNLINK', key)
    found = {}
  end
  local since = tonumber(found[1] or nil)
  if not since or since > at then
    since = at
    redis.pcall('HSET', key, 'since', at)
  end
  local floor = found[2]
  if floor and (#floor ~= 32 or until_when(floor) <= at) then floor = nil end
  return since, floor and string.sub(floor, 17, 32)
end
local function raise(key, name, version, ttl)
  local at = now()
  local _, floor = floors(key, name, at)
  if floor and below(version, floor) then version = floor end
  local set = redis.pcall('HSET', key, 'k' .. name, string.format('%016d', at + ttl) .. version)
  if type(set) == 'table' and set.err then
    -- There is no room for it. Without the rest, all floors are unknown.
    redis.call('UNLINK', key)
    return
  end
  -- Those that are over go by chance, some at a time, as Redis expires its keys.
  local sample = redis.call('HRANDFIELD', key, 4, 'WITHVALUES')
  for n = 1, #sample, 2 do
    if sample[n] ~= 'since' and until_when(sample[n + 1]) <= at then
      redis.call('HDEL', key, sample[n])
    end
  end
end
local function generation(key, candidate)
  local found = get(key)
  if found and #found == 16 then return found end
  redis.call('SET', key, candidate)
  return candidate
end
",
            $($script),*
        )
    };
}

#[cfg(not(broken = "no_lease_check"))]
macro_rules! check_lease {
    () => {
        "if get(KEYS[2]) ~= ARGV[1] .. ARGV[2] then return 1 end"
    };
}
#[cfg(broken = "no_lease_check")]
macro_rules! check_lease {
    () => {
        ""
    };
}

/// `KEYS`: record, lease, generation, floors.
/// `ARGV`: token, lease in ms, candidate for a generation, id of the record that was
/// seen, TTL of floors in ms, name of the key.
///
/// Gives `{0, record, generation}`, or `{1, generation, now, token, known, floor}`,
/// or `{2}` if somebody else holds the lease.
#[cfg(not(broken = "counter_lease"))]
pub(super) const ACQUIRE: &str = library!(
    r"
local record = get(KEYS[1])
if record and string.sub(record, 5, 20) ~= ARGV[4] then
  return {0, record, get(KEYS[3])}
end
-- A lease ends: what does not is none, and would be waited for for ever. One from before
-- a clear is held by nobody.
local held = get(KEYS[2])
if held and string.sub(held, 17) == get(KEYS[3]) and redis.call('PTTL', KEYS[2]) >= 0 then
  return {2}
end
local generation = generation(KEYS[3], ARGV[3])
redis.call('SET', KEYS[2], ARGV[1] .. generation, 'PX', ARGV[2])
local at = now()
local since, floor = floors(KEYS[4], ARGV[6], at)
return {1, generation, at, ARGV[1], at >= since + tonumber(ARGV[5]) and 1 or 0, floor or ''}
"
);

/// `KEYS`: record, lease, generation, floors.
/// `ARGV`: token, generation, new record (empty: none), its TTL in ms, its version or
/// nothing, name of the key.
///
/// Gives 0 if it is done, 1 if the lease is lost, 2 if it is below the floor.
#[cfg(not(broken = "counter_lease"))]
pub(super) const FILL: &str = library!(
    check_lease!(),
    r"
redis.call('UNLINK', KEYS[2])
if get(KEYS[3]) ~= ARGV[2] then return 1 end
if ARGV[3] == '' then
  redis.call('UNLINK', KEYS[1])
  return 0
end
local _, floor = floors(KEYS[4], ARGV[6], now())
if floor and (ARGV[5] == '' or below(ARGV[5], floor)) then return 2 end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
return 0
"
);

/// `KEYS`: lease. `ARGV`: token.
#[cfg(not(broken = "counter_lease"))]
pub(super) const RELEASE: &str = library!(
    r"
if string.sub(get(KEYS[1]) or '', 1, 16) == ARGV[1] then redis.call('UNLINK', KEYS[1]) end
return 0
"
);

/// `KEYS`: record, lease, floors. `ARGV`: floor or nothing, its TTL in ms, name of the
/// key.
///
/// What takes away comes first: that also works when there is no room.
#[cfg(not(broken = "counter_lease"))]
pub(super) const INVALIDATE: &str = library!(
    r"
redis.call('UNLINK', KEYS[1], KEYS[2])
if ARGV[1] ~= '' then raise(KEYS[3], ARGV[3], ARGV[1], tonumber(ARGV[2])) end
return 0
"
);

/// `KEYS`: record, lease, generation, floors.
/// `ARGV`: token, lease in ms, candidate for a generation, version or nothing, TTL of
/// floors in ms, name of the key.
///
/// Gives `{generation, now}`, or nothing if a newer version is known.
pub(super) const DISPLACE: &str = library!(
    r"
if ARGV[4] ~= '' then
  local _, floor = floors(KEYS[4], ARGV[6], now())
  if floor and below(ARGV[4], floor) then return {} end
  local record = get(KEYS[1])
  if record and #record >= 81 and string.sub(record, 1, 4) == 'eca1'
      and string.sub(record, 21, 36) == get(KEYS[3])
      and string.byte(record, 65) == 1 and below(ARGV[4], string.sub(record, 66, 81)) then
    return {}
  end
end
redis.call('UNLINK', KEYS[1], KEYS[2])
if ARGV[4] ~= '' then raise(KEYS[4], ARGV[6], ARGV[4], tonumber(ARGV[5])) end
local generation = generation(KEYS[3], ARGV[3])
redis.call('SET', KEYS[2], ARGV[1] .. generation, 'PX', ARGV[2])
return {generation, now()}
"
);

// A count of invalidations in place of a random token. After a flush it starts anew,
// and an old one is right again.

#[cfg(broken = "counter_lease")]
pub(super) const ACQUIRE: &str = library!(
    r"
local record = get(KEYS[1])
if record and string.sub(record, 5, 20) ~= ARGV[4] then
  return {0, record, get(KEYS[3])}
end
local count = string.format('%016d', tonumber(get(KEYS[2]) or '0'))
return {1, generation(KEYS[3], ARGV[3]), now(), count, 1, ''}
"
);

#[cfg(broken = "counter_lease")]
pub(super) const FILL: &str = library!(
    r"
if string.format('%016d', tonumber(get(KEYS[2]) or '0')) ~= ARGV[1] then return 1 end
if ARGV[3] == '' then
  redis.call('UNLINK', KEYS[1])
  return 0
end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
generation(KEYS[3], ARGV[2])
return 0
"
);

#[cfg(broken = "counter_lease")]
pub(super) const RELEASE: &str = "return 0";

#[cfg(broken = "counter_lease")]
pub(super) const INVALIDATE: &str =
    "redis.call('UNLINK', KEYS[1]) return redis.call('INCR', KEYS[2])";
