/** Types only: this file is compiled and never run. */
import { expectTypeOf } from 'vitest'

import { createSessions } from '../sessions.ts'
import { Session } from './session.ts'

interface Shop {
  visits: number
  cart: string[]
  name?: string
}

const session = new Session<Shop>()

expectTypeOf(session.get('visits')).toEqualTypeOf<number | undefined>()
expectTypeOf(session.get('visits', 0)).toEqualTypeOf<number>()
expectTypeOf(session.get('name')).toEqualTypeOf<string | undefined>()
expectTypeOf(session.get('name', 'nobody')).toEqualTypeOf<string>()
expectTypeOf(session.pull('cart')).toEqualTypeOf<string[] | undefined>()
expectTypeOf(session.update('visits', (n = 0) => n + 1)).toEqualTypeOf<number>()
expectTypeOf(session.data).toEqualTypeOf<Shop>()
expectTypeOf([...session.keys()]).toEqualTypeOf<('visits' | 'cart' | 'name')[]>()
expectTypeOf(session.save()).resolves.toEqualTypeOf<'saved' | 'unchanged' | 'gone'>()
expectTypeOf(session.set('visits', 1).set('cart', [])).toEqualTypeOf<Session<Shop>>()

// @ts-expect-error A key that the shape does not have.
session.get('visit')
// @ts-expect-error A value of another type.
session.set('visits', '1')
// @ts-expect-error A fallback of another type.
session.get('visits', 'none')
// @ts-expect-error A key with a value that the function cannot take as undefined.
session.update('visits', (n: number) => n + 1)
// @ts-expect-error A value of another type.
session.flash('cart', 'tea')
// @ts-expect-error A user is named by a string.
session.signIn(7)
// @ts-expect-error Times are told, not set.
session.createdAt = new Date()

// Without a shape, keys are free and values unknown.
const loose = new Session()
expectTypeOf(loose.get('anything')).toEqualTypeOf<unknown>()
loose.data.anything = [1]

const sessions = createSessions<Shop>()
expectTypeOf(sessions.open('')).resolves.toEqualTypeOf<Session<Shop>>()
// @ts-expect-error Sessions of another shape.
void sessions.commit(new Session<{ other: number }>())
// @ts-expect-error An option that does not exist.
createSessions({ secret: 'x' })
