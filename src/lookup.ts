import type { Awaitable } from './awaitable.ts'
import { chain } from './awaitable.ts'
import type { Credentials, TokenCodec } from './cookie/token.ts'
import { isUnavailable } from './errors.ts'
import { publish } from './events.ts'
import type { Committer } from './session/commit.ts'
import type { Found } from './session/records.ts'
import type { Identity, Lookup, Standing } from './session/state.ts'

/** Where a look-up leaves the session. */
export interface Look {
  readonly lookup: Lookup
  readonly standing: Standing
  readonly credentials: Identity | null
}

/** What the cookie's values decode to, each once; or what is wrong with all of them. */
export function decodeAll(
  codec: TokenCodec,
  values: readonly string[],
): readonly Credentials[] | 'malformed' | 'forged' {
  const candidates: Credentials[] = []
  let reason: 'grammar' | 'signature' = 'grammar'
  for (const value of values) {
    const decoded = codec.decode(value)
    if (typeof decoded === 'object') {
      // One token may come under several tags, each by a secret of its own.
      if (!candidates.some(({ id }) => id === decoded.id)) candidates.push(decoded)
    } else {
      reason = decoded === 'signature' ? decoded : reason
      publish({ kind: 'rejected', reason: decoded, id: null })
    }
  }
  if (candidates.length > 0) return candidates
  return reason === 'signature' ? 'forged' : 'malformed'
}

/** What to do with a request whose session the store cannot give: fail it, or serve it as an anonymous visitor's. */
export type OnOutage = 'fail' | 'anonymous'

/**
 * Asks the store for the sessions of all candidates, and settles for one, or none.
 * @throws SessionError when the store fails, unless `onOutage` says to go on without
 */
export function lookUp(
  committer: Committer,
  candidates: readonly Identity[],
  onOutage: OnOutage,
): Awaitable<Look> {
  const only = candidates.length === 1 ? candidates[0]! : null
  const looked =
    only !== null
      ? look(committer, only)
      : Promise.all(candidates.map(async (credentials) => look(committer, credentials))).then(choose)
  if (onOutage === 'fail' || !(looked instanceof Promise)) return looked
  return looked.catch((error: unknown) => {
    if (!isUnavailable(error)) throw error
    return { lookup: 'unavailable', standing: { kind: 'outage', error }, credentials: only }
  })
}

/** Settles for one of several looks. */
function choose(looks: readonly Look[]): Look {
  const live = looks.filter(({ lookup }) => lookup === 'live')
  if (live.length <= 1) return live[0] ?? looks.find(({ lookup }) => lookup === 'ended') ?? looks[0]!
  // One of them may be an attacker's: taking the first would let a subdomain choose the session (6265bis 8.6).
  publish({ kind: 'rejected', reason: 'duplicate', id: null })
  return { lookup: 'ambiguous', standing: { kind: 'new' }, credentials: null }
}

/** Asks the store for one token's session. What is not there, or cannot be used, is a new session; its cookie is never adopted. */
function look(committer: Committer, credentials: Identity): Awaitable<Look> {
  return chain(committer.find(credentials.id), (found) => lookOf(found, credentials))
}

function lookOf(found: Found, credentials: Identity): Look {
  switch (found.kind) {
    case 'live':
      return { lookup: 'live', standing: { kind: 'live', record: found.record }, credentials }
    case 'ended':
      return { lookup: 'ended', standing: { kind: 'ended', mark: found.mark }, credentials }
    case 'expired':
      publish({ kind: 'expired', id: credentials.id, reason: found.reason })
      break
    case 'missing':
      publish({ kind: 'rejected', reason: 'unknown', id: credentials.id })
  }
  return { lookup: found.kind, standing: { kind: 'new' }, credentials: null }
}
