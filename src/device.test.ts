import { describe, expect, test } from 'vitest'

import { serve, visit } from '../test/support/core.ts'
import type { CookieSource } from './cookie/connection.ts'
import { describeDevice } from './device.ts'
import type { NoteDevice } from './device.ts'
import type { SessionsOptions } from './options.ts'
import { resolveOptions } from './options.ts'

const FIREFOX = 'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0'

const node = (headers: Record<string, string | string[]>, remoteAddress?: string): CookieSource => ({
  headers,
  socket: { remoteAddress },
})
const web = (headers: Record<string, string>): CookieSource =>
  new Request('https://shop.example', { headers })

describe('a device is described', () => {
  test.each<[string, CookieSource, NoteDevice, boolean, string | null]>([
    ['by its user agent', node({ 'user-agent': FIREFOX }, '10.0.0.1'), 'user-agent', true, FIREFOX],
    ['of a Request', web({ 'user-agent': FIREFOX }), 'user-agent', false, FIREFOX],
    ['of Headers', new Headers({ 'user-agent': FIREFOX }), 'user-agent', false, FIREFOX],
    ['not by a Cookie header', 'session=x', 'user-agent-and-ip', true, null],
    ['not by no header', node({}), 'user-agent', false, null],
    ['with its address', node({ 'user-agent': 'x' }, '::1'), 'user-agent-and-ip', false, '::1 x'],
    ['by its address alone', node({}, '10.0.0.1'), 'user-agent-and-ip', false, '10.0.0.1'],
    [
      'not with an address that anyone could send',
      node({ 'user-agent': 'x', 'x-forwarded-for': '6.6.6.6' }, '10.0.0.1'),
      'user-agent-and-ip',
      false,
      '10.0.0.1 x',
    ],
    [
      'with the address that the proxy saw',
      node({ 'user-agent': 'x', 'x-forwarded-for': '6.6.6.6, 203.0.113.7' }, '10.0.0.1'),
      'user-agent-and-ip',
      true,
      '203.0.113.7 x',
    ],
    [
      'with that one of a Request too',
      web({ 'user-agent': 'x', 'x-forwarded-for': '203.0.113.7' }),
      'user-agent-and-ip',
      true,
      '203.0.113.7 x',
    ],
    [
      'with its own where the proxy says none',
      node({ 'x-forwarded-for': '' }, '10.0.0.1'),
      'user-agent-and-ip',
      true,
      '10.0.0.1',
    ],
    ['by the application', web({ 'x-app': 'Desk 2' }), () => 'Desk 2', false, 'Desk 2'],
    ['not where the application says so', web({}), () => null, false, null],
    [
      'without what controls a terminal or turns text around',
      null,
      () => '\u001B[31mred\u0000\u202Egnp\r\n\t x ',
      false,
      '[31mred gnp x',
    ],
    ['in 128 characters', null, () => 'x'.repeat(1000), false, 'x'.repeat(128)],
    ['by whole characters', null, () => `${'x'.repeat(127)}🦊`, false, 'x'.repeat(127)],
    ['not by blanks', null, () => ' \n ', false, null],
  ])('%s', (_, source, note, trustProxy, expected) => {
    expect(describeDevice(source, note, trustProxy)).toBe(expected)
  })
})

describe('noteDevice', () => {
  const list = async (options: SessionsOptions, userAgent = FIREFOX): Promise<(string | null)[]> => {
    const { sessions } = serve(options)
    const session = await sessions.open(node({ host: 'localhost', 'user-agent': userAgent }))
    session.signIn('ada')
    await sessions.commit(session)
    return (await sessions.forUser('ada').list()).map(({ device }) => device)
  }

  test('keeps nothing unless asked to', async () => {
    expect(await list({})).toEqual([null])
    expect(await list({ noteDevice: 'user-agent' })).toEqual([FIREFOX])
    expect(await list({ noteDevice: 'user-agent' }, '')).toEqual([null])
  })

  test('keeps it through writes and new ids, until the next sign-in; and of nobody who is not signed in', async () => {
    const { sessions, memory } = serve({ noteDevice: 'user-agent' })
    const from = (cookie: string, userAgent: string): CookieSource =>
      node({ host: 'localhost', cookie, 'user-agent': userAgent })
    const devices = async (): Promise<(string | null)[]> =>
      (await sessions.forUser('ada').list()).map(({ device }) => device)
    const { cookie: anonymous, session } = await visit(sessions, null, ({ data }) => (data.n = 1))
    expect((await memory.get(session.id))?.device).toBe(null)
    let cookie = anonymous!
    const act = async (userAgent: string, does: (of: typeof session) => unknown): Promise<void> => {
      const opened = await sessions.open(from(cookie, userAgent))
      does(opened)
      const { headers } = await sessions.commit(opened)
      cookie = headers.find(([name]) => name === 'Set-Cookie')?.[1].split(';', 1)[0] ?? cookie
    }
    await act('first', (s) => s.signIn('ada'))
    await act('second', (s) => s.set('n', 2))
    await act('third', (s) => s.rotate())
    expect(await devices()).toEqual(['first'])
    await act('fourth', (s) => s.signIn('ada'))
    expect(await devices()).toEqual(['fourth'])
  })

  test.each(['ip', true, {}])('refused: %o', (noteDevice) => {
    expect(() => resolveOptions({ noteDevice: noteDevice as NoteDevice })).toThrow(
      expect.objectContaining({ code: 'ERR_SESSION_OPTION', rule: 'note-device' }),
    )
  })
})
