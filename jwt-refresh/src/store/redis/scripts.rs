//! The scripts. Redis runs each by itself, so each is one step.
//!
//! `rotate` says in Lua what `refresh::policy` says in Rust; the conformance suite
//! holds the two against each other.

use redis::Script;

pub(super) struct Scripts {
    pub(super) create: Script,
    pub(super) describe: Script,
    pub(super) rotate: Script,
    pub(super) revoke_session: Script,
    pub(super) revoke_user: Script,
    pub(super) revoke_others: Script,
    pub(super) revoke_token: Script,
    pub(super) kill_key: Script,
    pub(super) sessions: Script,
    pub(super) heartbeat: Script,
    pub(super) killed: Script,
    pub(super) range: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let script = |code: &str| Script::new(&format!("{COMMON}{code}"));
        Self {
            create: script(CREATE),
            describe: Script::new(DESCRIBE),
            rotate: script(&rotate()),
            revoke_session: script(REVOKE_SESSION),
            revoke_user: script(REVOKE_USER),
            revoke_others: script(REVOKE_OTHERS),
            revoke_token: script(REVOKE_TOKEN),
            kill_key: script(KILL_KEY),
            sessions: script(SESSIONS),
            heartbeat: script(HEARTBEAT),
            killed: script(KILLED),
            range: script(RANGE),
        }
    }
}

/// Entries stay for two hours: longer than any access token with its leeway.
const COMMON: &str = "
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local function num(n) return string.format('%.0f', n) end
local function publish(feed, ...)
  redis.call('XADD', feed, 'MINID', '~', num(now - 7200000), '*', ...)
end
";

const CREATE: &str = "
if redis.call('EXISTS', KEYS[1]) == 1 then return {} end
local epoch = redis.call('HGET', KEYS[2], ARGV[2]) or '0'
local absolute = now + tonumber(ARGV[8])
local idle = math.min(now + tonumber(ARGV[9]), absolute)
redis.call('HSET', KEYS[1], 'u', ARGV[2], 'c', ARGV[3], 'sc', ARGV[4], 'g', ARGV[5],
  'd', ARGV[6], 'h', ARGV[7], 'gen', '0', 'rp', '0', 'ep', epoch, 'cr', num(now),
  'abs', num(absolute), 'idle', num(idle))
local gone = absolute + 86400000
redis.call('PEXPIREAT', KEYS[1], num(gone))
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', num(now))
redis.call('ZADD', KEYS[3], num(absolute), ARGV[1])
if redis.call('PTTL', KEYS[3]) < gone - now then redis.call('PEXPIREAT', KEYS[3], num(gone)) end
return {num(now), num(absolute), epoch}
";

const DESCRIBE: &str = "
if redis.call('EXISTS', KEYS[1]) == 0 then return {} end
return redis.call('HMGET', KEYS[1], 'u', 'c', 'sc', 'g', 'd')
";

/// With the rules that a control takes out left out.
fn rotate() -> String {
    let rule = |broken: bool, code: &'static str| if broken { "" } else { code };
    let expired = rule(
        cfg!(broken = "redis_expired"),
        "if now >= math.min(abs, idle) then return {'expired'} end",
    );
    let revoked = rule(
        cfg!(broken = "redis_epoch"),
        "if tonumber(row[13]) < tonumber(redis.call('HGET', KEYS[2], row[1]) or '0') then return {'revoked'} end",
    );
    let kept = rule(
        cfg!(broken = "redis_kept"),
        "if since >= 0 and since < tonumber(ARGV[7]) then return {'kept', num(now), row[11], row[13]} end",
    );
    let grace = rule(
        cfg!(broken = "redis_grace"),
        "if since >= 0 and since < tonumber(ARGV[7]) then replay = true end",
    );
    let retry = rule(
        cfg!(broken = "redis_retry"),
        "if same and since >= 0 and since < tonumber(ARGV[8]) then replay = true end",
    );
    let reuse = rule(cfg!(broken = "redis_reuse"), "redis.call('HSET', KEYS[1], 'st', '1')");
    let publish = rule(
        cfg!(broken = "redis_unpublished"),
        "publish(KEYS[3], 't', 's', 'i', ARGV[12], 'x', num(now + tonumber(ARGV[11])))",
    );
    format!(
        "
local row = redis.call('HMGET', KEYS[1],
  'u', 'st', 'gen', 'h', 'p', 'n', 'k', 'r', 'rot', 'rp', 'abs', 'idle', 'ep')
if not row[1] then return {{'unknown'}} end
if row[2] then return {{'revoked'}} end
{revoked}
local abs, idle = tonumber(row[11]), tonumber(row[12])
{expired}
local function revoke(kind)
  {reuse}
  {publish}
  return {{kind}}
end
local gen, has = tonumber(ARGV[1]), tonumber(row[3])
if gen > has then return {{'ahead'}} end
local since = -1
if row[9] then since = math.max(now - tonumber(row[9]), 0) end
local same = ARGV[6] ~= '' and row[8] == ARGV[6]
if gen == has then
  if ARGV[2] ~= row[4] then return revoke('forked') end
  if same then return {{'retry-key'}} end
  {kept}
  redis.call('HSET', KEYS[1], 'p', row[4], 'h', ARGV[3], 'gen', num(has + 1), 'n', ARGV[4],
    'k', ARGV[5], 'r', ARGV[6], 'rot', num(now), 'rp', '0',
    'idle', num(math.min(now + tonumber(ARGV[10]), abs)))
  return {{'rotated', num(now), row[11], row[13]}}
end
if gen + 1 == has then
  if row[5] ~= ARGV[2] then return revoke('forked') end
  local replay = false
  {grace}
  {retry}
  if replay then
    if tonumber(row[10]) >= tonumber(ARGV[9]) then return {{'too-many'}} end
    redis.call('HINCRBY', KEYS[1], 'rp', 1)
    return {{'replayed', num(now), row[11], row[13], row[6], row[7]}}
  end
end
return revoke('reuse')
"
    )
}

const REVOKE_SESSION: &str = "
local till = num(now + tonumber(ARGV[1]))
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'st', '1') end
publish(KEYS[2], 't', 's', 'i', ARGV[2], 'x', till)
return {till}
";

const REVOKE_USER: &str = "
local till = num(now + tonumber(ARGV[1]))
local epoch = num(redis.call('HINCRBY', KEYS[1], ARGV[2], 1))
publish(KEYS[2], 't', 'u', 'i', ARGV[2], 'e', epoch, 'x', till)
return {till, epoch}
";

const REVOKE_OTHERS: &str = "
local till = num(now + tonumber(ARGV[1]))
local answer = {till}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if id ~= ARGV[2] then
    local key = ARGV[3] .. id
    if redis.call('EXISTS', key) == 1 then redis.call('HSET', key, 'st', '1') end
    publish(KEYS[2], 't', 's', 'i', id, 'x', till)
    answer[#answer + 1] = id
  end
end
return answer
";

const REVOKE_TOKEN: &str = "
local till = num(now + tonumber(ARGV[1]))
publish(KEYS[1], 't', 'j', 'i', ARGV[2], 'x', till)
return {till}
";

const KILL_KEY: &str = "
redis.call('SADD', KEYS[1], ARGV[1])
publish(KEYS[2], 't', 'k', 'i', ARGV[1])
return {'1'}
";

const SESSIONS: &str = "
local epoch = tonumber(redis.call('HGET', KEYS[2], ARGV[2]) or '0')
local answer = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local row = redis.call('HMGET', ARGV[1] .. id, 'c', 'd', 'cr', 'rot', 'abs', 'idle', 'st', 'ep')
  if row[1] and not row[7] and tonumber(row[8]) >= epoch then
    local ends = math.min(tonumber(row[5]), tonumber(row[6]))
    if now < ends then
      for _, field in ipairs({id, row[1], row[2], row[3], row[4] or row[3], num(ends)}) do
        answer[#answer + 1] = field
      end
    end
  end
end
return answer
";

const HEARTBEAT: &str = "
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
if now - last >= tonumber(ARGV[1]) or last > now then
  redis.call('SET', KEYS[2], num(now))
  publish(KEYS[1], 't', 'h')
end
return {'1'}
";

const KILLED: &str = "
local answer = redis.call('SMEMBERS', KEYS[1])
table.insert(answer, 1, num(now))
return answer
";

const RANGE: &str = "
return {now, redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])}
";
