/** Types only: this file is compiled and never run. */
import * as v from 'valibot'
import { expectTypeOf } from 'vitest'
import { z } from 'zod'

import { Session } from './session.ts'

const session = new Session<{ other: number }>()

const view = session.typed(
  z.object({ visits: z.number().default(0), at: z.coerce.date(), name: z.string().optional() }),
)
expectTypeOf(view).toEqualTypeOf<{ visits: number; at: Date; name?: string | undefined }>()
// @ts-expect-error A value of another type.
view.visits = 'many'

const other = session.typed(v.object({ cart: v.optional(v.array(v.string()), []) }))
expectTypeOf(other).toEqualTypeOf<{ cart: string[] }>()

// @ts-expect-error Not a Standard Schema.
session.typed({ visits: Number })
