import { setTimeout as pause } from 'node:timers/promises'

import { afterEach, beforeEach, inject } from 'vitest'

import { stalledSince, stoodStill } from './stalls.ts'

const begun = new WeakMap<object, number>()

beforeEach(({ task }) => void begun.set(task, Date.now()))

afterEach(async ({ task }) => {
  if (task.result?.state !== 'fail') return
  // The watcher, too, is late.
  await pause(100)
  const ms = stalledSince(begun.get(task)!, inject('stalls'))
  if (ms > 0) throw stoodStill(ms)
})
