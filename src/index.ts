export { type Commit, type Decision, type HeaderLine, onCommit, type Outcome } from './answer.ts'
export { type Clock, systemClock } from './clock.ts'
export { Context, type ContextOptions, getSession } from './context.ts'
export type { CookieAttributes, CookieOptions } from './cookie/attributes.ts'
export type { CookieSource } from './cookie/connection.ts'
export type { NoteDevice } from './device.ts'
export { type EndReason, SessionError, type SessionErrorCode } from './errors.ts'
export { onEvent, type SessionEvent } from './events.ts'
export type { SessionsOptions } from './options.ts'
export type { SaveOutcome } from './session/commit.ts'
export type { SessionsPerUser } from './session/limits.ts'
export { type Key, Session, type SessionOptions, type Value } from './session/session.ts'
export type { Lookup } from './session/state.ts'
export type { OutputOf, StandardSchema } from './session/typed.ts'
export { createSessions, Sessions } from './sessions.ts'
export { MemorySessionStore, type MemorySessionStoreOptions } from './stores/memory.ts'
export { hasNotices, type NoticeListener, type Notices } from './stores/notices.ts'
export { type Data, SessionData, type SessionDataInit, type SessionDataJSON } from './stores/session-data.ts'
export { hasUserIndex, type UserIndex } from './stores/user-index.ts'
export { type UserSession, UserSessions } from './user-sessions.ts'
export {
  DEFAULT_TTL,
  type Glimpse,
  isMark,
  type Mark,
  MARK_SECONDS,
  SessionStore,
  type SessionStoreOptions,
} from './stores/store.ts'
