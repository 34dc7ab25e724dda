import { SessionError } from '../errors.ts'
import type { Contents } from './contents.ts'
import type { Session } from './session.ts'

/** A session as an object, whose properties are its keys and nothing else: `constructor` and `__proto__` are data like any other. */
export function createDataView(session: Session, contents: () => Contents): Record<string, unknown> {
  return new Proxy<Record<string, unknown>>(Object.create(null) as Record<string, unknown>, {
    get: (_, key) => (typeof key === 'string' ? session.get(key) : undefined),
    has: (_, key) => typeof key === 'string' && session.has(key),
    set(_, key, value) {
      session.set(nameOf(key), value)
      return true
    },
    deleteProperty(_, key) {
      if (typeof key === 'string') session.delete(key)
      return true
    },
    defineProperty(_, key, descriptor) {
      if (!('value' in descriptor)) throw misuse('An accessor cannot be stored. Set a value.')
      session.set(nameOf(key), descriptor.value)
      return true
    },
    ownKeys: () => [...session.keys()],
    getOwnPropertyDescriptor(_, key) {
      if (typeof key !== 'string' || !session.has(key)) return undefined
      // Asked for by Object.keys and Object.hasOwn too, which read no value: a flash value stays.
      return { value: contents().look(key), writable: true, enumerable: true, configurable: true }
    },
    setPrototypeOf: () => false,
    preventExtensions: () => false,
  })
}

function nameOf(key: string | symbol): string {
  if (typeof key === 'string') return key
  throw misuse('A symbol cannot be a key of a session. Use a string.')
}

function misuse(message: string): SessionError {
  return new SessionError('ERR_SESSION_ARGUMENT', message)
}
