import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

import type { Browser, BrowserContext, BrowserContextOptions, Cookie, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'

import { launchChromium } from '../support/chromium.ts'
import type { DemoServer } from '../support/demo-server.ts'
import { DemoFailed, startDemo } from '../support/demo-server.ts'
import { eventually } from '../support/eventually.ts'
import { freePort } from '../support/free-port.ts'
import type { RedisServer } from '../support/redis-server.ts'
import { startRedis } from '../support/redis-server.ts'
import type { TemporaryFolder } from '../support/temporary-folder.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'
import { listening, scripted, signIn } from './pages.ts'

let browser: Browser
let folder: TemporaryFolder
let demo: DemoServer
/** What pages complained of; no test leaves any. */
let troubles: string[] = []
const contexts: BrowserContext[] = []

beforeAll(async () => {
  folder = await temporaryFolder()
  demo = await startDemo({ SQLITE_PATH: databaseFile('shared') })
  browser = await launchChromium()
})

afterEach(async () => {
  await Promise.all(contexts.splice(0).map((context) => context.close()))
  const found = troubles
  troubles = []
  expect(found).toEqual([])
})

afterAll(async () => {
  await browser?.close()
  await demo?.stop('SIGKILL')
  folder?.remove()
})

describe('the demo keeps sessions', () => {
  test('and sets no cookie before there is something to remember', async () => {
    const page = await visitor()
    await page.goto(`${demo.url}/quiet`)
    expect(await page.locator('#quiet').textContent()).toContain('this answer sets no cookie')
    expect(await page.context().cookies()).toEqual([])

    await page.goto(demo.url)
    const [cookie] = await page.context().cookies()
    expect(cookie).toMatchObject({ name: 'session', httpOnly: true, sameSite: 'Lax', path: '/' })
  })

  test('and sends the cookie once, not with every answer', async () => {
    const page = await visitor()
    const first = await page.goto(demo.url)
    const second = await page.goto(demo.url)
    expect(await first!.headerValue('set-cookie')).toContain('session=')
    expect(await second!.headerValue('set-cookie')).toBeNull()
    expect(await visitsOn(page)).toBe('2')
  })

  test('and counts visits across tabs', async () => {
    const page = await visitor()
    await page.goto(demo.url)
    const tab = await tabBeside(page)
    await tab.goto(demo.url)
    expect(await visitsOn(tab)).toBe('2')
    await page.getByRole('button', { name: 'Visit again' }).click()
    await page.getByText('3 visits').waitFor()
  })

  test('under another cookie and id from sign-in on, with the cart kept and the old token dead', async () => {
    const page = await visitor()
    await page.goto(demo.url)
    await addToCart(page, 'Brass lantern')
    const [anonymous, anonymousId] = [await cookieOf(page), await idOn(page)]

    await signIn(page, 'Ada')
    const signedIn = await cookieOf(page)
    expect(signedIn.value).not.toBe(anonymous.value)
    expect(await idOn(page)).not.toBe(anonymousId)
    expect(await quantityOf(page, 'Brass lantern')).toBe('1')
    expect(await userOf(signedIn)).toBe('Ada')
    expect(await userOf(anonymous)).toBeNull()
  })

  test('and shows a name as text, whatever it holds', async () => {
    const page = await visitor()
    await page.goto(demo.url)
    const name = '<img src=x onerror="document.title=1">&amp;'
    await page.getByLabel('Your name').fill(name)
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.locator('#account b').waitFor()
    expect(await page.locator('#account b').textContent()).toBe(name)
    expect(await page.locator('img').count()).toBe(0)
  })

  test('and changes the cart where it is', async () => {
    const page = await visitor()
    await page.goto(demo.url)
    await addToCart(page, 'Brass lantern')
    await addToCart(page, 'Tide table')
    await page.getByRole('button', { name: 'One more: Brass lantern' }).click()
    await page.getByText('€93').waitFor()
    await page.getByRole('button', { name: 'One less: Brass lantern' }).click()
    await page.getByText('€51').waitFor()
    await page.getByRole('button', { name: 'Remove Tide table' }).click()
    await page.getByText('Total €42').waitFor()
    await page.getByRole('button', { name: 'Remove Brass lantern' }).click()
    await page.getByText('The cart is empty').waitFor()
  })

  test('and shows a message after the redirect, once', async () => {
    const page = await visitor()
    await page.goto(demo.url)
    await page.getByLabel('Tell the next page').fill('The tide turns at six.')
    await page.getByRole('button', { name: 'Send', exact: true }).click()
    await page.getByText('The tide turns at six.').waitFor()
    await page.reload()
    expect(await page.getByText('The tide turns at six.').count()).toBe(0)
  })

  test('and clears the cookie at sign-out, in every tab', async () => {
    const page = await visitor()
    await page.goto(demo.url)
    await signIn(page, 'Ada')
    const signedIn = await cookieOf(page)
    const tab = await tabBeside(page)
    await tab.goto(demo.url)
    await listening(tab)
    expect(await tab.locator('#account').textContent()).toContain('Ada')

    const answer = page.waitForResponse((response) => response.url().endsWith('/sign-out'))
    await page.locator('#account').getByRole('button', { name: 'Sign out' }).click()
    expect(await (await answer).headerValue('set-cookie')).toMatch(/^session=; Max-Age=0/)
    await page.getByText('That session is over for good').waitFor()
    expect(await visitsOn(page)).toBe('1')
    await tab.waitForURL('**/devices')
    await tab.goto(demo.url)
    expect(await tab.locator('#account').textContent()).toBe('Not signed in')
    expect(await userOf(signedIn)).toBeNull()
  })

  test('and says what each request did, and why a cookie was or was not sent', async () => {
    const page = await visitor()
    await page.goto(demo.url)
    await signIn(page, 'Ada')
    await page.reload()
    expect(await decisionsOn(page)).toEqual([
      ['GET /', 'this session', 'saved', 'replaced', 'left: The browser has it already.'],
      ['POST /sign-in', 'this session', 'saved', 'rotated', 'set: The session has a new token.'],
      ['GET /', 'there was none', 'saved', 'created', 'set: The session is new.'],
    ])
    await page.locator('#account').getByRole('button', { name: 'Sign out' }).click()
    await page.getByText('That session is over for good').waitFor()
    expect((await decisionsOn(page))[0]).toEqual([
      'POST /sign-out',
      'this session',
      'destroyed',
      'nothing',
      'cleared: This request ended the session.',
    ])
  })
})

describe('the demo under pressure', () => {
  test('keeps what each of twenty parallel requests wrote, where the last write winning does not', async () => {
    const page = await visitor()
    await page.goto(demo.url)
    const sent: string[] = []
    page.on('request', (request) => void sent.push(new URL(request.url()).pathname))
    await page.getByRole('button', { name: 'Send 20 requests' }).click()
    await page.getByText('20 of 20 keys are there, and the counter says 20.').waitFor()

    expect(new Set(sent.filter((path) => /^\/parallel\/\d+$/.test(path))).size).toBe(20)
    const [holdfast, comparison] = await page.locator('#parallel-grids figure').all()
    expect(await holdfast!.locator('.kept').count()).toBe(20)
    expect(await comparison!.locator('.lost').count()).toBeGreaterThan(0)
  })

  test('keeps a session signed out while a slow request still writes to it', async () => {
    const page = await visitor()
    await page.goto(demo.url)
    await signIn(page, 'Ada')
    const [signedIn, id] = [await cookieOf(page), await idOn(page)]
    await page.getByRole('button', { name: 'Sign out meanwhile' }).click()
    await page.locator('[data-step=read].done').waitFor()

    expect(await page.locator('#race .detail').allTextContents()).toEqual([
      `Signed in as Ada, session ${id.slice(0, 8)}…`,
      'It has read the session, and works on.',
      'The session is ended, the cookie cleared.',
      'It is told: gone.',
      'Nobody is signed in, and the store has no such session.',
    ])
    await page.getByText('Not signed in').waitFor()
    expect(await page.context().cookies()).toEqual([])
    expect(await userOf(signedIn)).toBeNull()
  })

  test('signs a visitor in first who is not, and can run again', async () => {
    const page = await visitor()
    await page.goto(demo.url)
    for (const _ of ['once', 'again']) {
      await page.getByRole('button', { name: 'Sign out meanwhile' }).click()
      await page.locator('#race .done .detail', { hasText: 'Signed in as Guest' }).waitFor()
      await page.locator('[data-step=written].done', { hasText: 'It is told: gone.' }).waitFor()
      await page.locator('#race form:not([aria-busy])').waitFor()
    }
  })
})

describe('the demo’s page', () => {
  test('can be used with the keyboard alone', async () => {
    const page = await visitor()
    await page.goto(demo.url)
    await page.keyboard.press('Tab')
    expect(await focusedOn(page)).toBe('Skip to content')

    await tabTo(page, 'Your name')
    expect(await page.evaluate('getComputedStyle(document.activeElement).outlineStyle')).toBe('solid')
    await page.keyboard.type('Ada')
    await page.keyboard.press('Enter')
    await page.getByText('Welcome, Ada.').waitFor()
    await scripted(page)
    await tabTo(page, 'Brass lantern €42')
    await page.keyboard.press('Enter')
    await page.getByText('Total €42').waitFor()
    await scripted(page)
    await tabTo(page, 'One more: Brass lantern')
    await page.keyboard.press('Space')
    await page.getByText('Total €84').waitFor()
    await scripted(page)
    await tabTo(page, 'Send 20 requests')
    await page.keyboard.press('Enter')
    await page.getByText('20 of 20 keys').waitFor()
    expect(await focusedOn(page)).toBe('Send 20 requests')
    await tabTo(page, 'Sign out')
    await page.keyboard.press('Enter')
    await page.getByText('That session is over for good').waitFor()
  })

  test('stays where it was scrolled to when a form is sent', async () => {
    const page = await visitor({ viewport: { width: 1280, height: 700 } })
    await page.goto(demo.url)
    await page.evaluate('scrollTo(0, 400)')
    await addToCart(page, 'Brass lantern')
    await eventually(async () => expect(await page.evaluate('scrollY')).toBe(400))
  })

  test('fits a phone, whatever it shows', async () => {
    const page = await visitor({ viewport: { width: 360, height: 740 } })
    await page.goto(demo.url)
    expect(await overflowOf(page)).toEqual([])

    await signIn(page, 'A'.repeat(80))
    await addToCart(page, 'Brass lantern')
    await page.getByRole('button', { name: 'Send 20 requests' }).click()
    await page.getByText('20 of 20 keys').waitFor()
    await page.getByLabel('Tell the next page').fill('M'.repeat(80))
    await page.getByRole('button', { name: 'Send', exact: true }).click()
    await page.locator('.notice').waitFor()
    expect(await overflowOf(page)).toEqual([])
  })

  test('names every field and button, and steps its headings one by one', async () => {
    const page = await visitor()
    await page.goto(demo.url)
    await signIn(page, 'Ada')
    await addToCart(page, 'Brass lantern')
    const levels = await page
      .locator('h1, h2, h3')
      .evaluateAll((all) => all.map(({ tagName }) => Number(tagName[1])))
    expect(levels[0]).toBe(1)
    expect(levels.filter((level, index) => index > 0 && level - levels[index - 1]! > 1)).toEqual([])
    for (const control of await page.locator('input, button').all())
      expect(await control.ariaSnapshot()).toMatch(/^- '?(?:textbox|button) \\?"[^"]+"/)
  })

  test('works without JavaScript', async () => {
    const page = await visitor({ javaScriptEnabled: false })
    await page.goto(demo.url)
    await signIn(page, 'Ada')
    await addToCart(page, 'Brass lantern')
    await page.getByRole('button', { name: 'Send 20 requests' }).click()
    await page.getByText('20 of 20 keys are there, and the counter says 20.').waitFor()
    expect(await quantityOf(page, 'Brass lantern')).toBe('1')

    const signedIn = await cookieOf(page)
    await page.getByRole('button', { name: 'Sign out meanwhile' }).click()
    await page.getByText('It is told: gone.').waitFor()
    await page.getByText('Nobody is signed in, and the store has no such session.').waitFor()
    expect(await page.context().cookies()).toEqual([])
    expect(await userOf(signedIn)).toBeNull()
    await page.getByRole('link', { name: 'Back to the demo' }).click()
    await page.getByText('Not signed in').waitFor()
  })

  test('quotes its code as it stands in the source', async () => {
    const page = await visitor()
    await page.goto(demo.url)
    const source = sourceOfDemo()
    const excerpts = await page.locator('.code').allTextContents()
    expect(excerpts).toHaveLength(7)
    const lines = excerpts
      .flatMap((excerpt) => excerpt.split('\n'))
      .map(withoutComment)
      .filter((line) => line !== '')
    expect(lines.filter((line) => !source.includes(line))).toEqual([])
  })
})

describe('the demo’s server', () => {
  test.each(['SIGTERM', 'SIGKILL'] as const)(
    'finds its sessions again after a restart by %s',
    async (signal) => {
      const env = { SQLITE_PATH: databaseFile(signal), PORT: String(await freePort()) }
      const before = await startDemo(env)
      const page = await visitor()
      await page.goto(before.url)
      await signIn(page, 'Ada')
      await addToCart(page, 'Brass lantern')
      // Chromium complains of a server that goes while a page listens to it.
      await page.goto('about:blank')
      expect(await before.stop(signal)).toBe(signal === 'SIGTERM' ? 0 : null)

      const after = await startDemo(env)
      try {
        await page.goto(after.url)
        expect(await page.locator('#account').textContent()).toContain('Signed in as Ada')
        expect(await quantityOf(page, 'Brass lantern')).toBe('1')
      } finally {
        await page.close()
        await after.stop()
      }
    },
  )

  test('says in one line that its port is taken', async () => {
    const failure = await failedDemo({ PORT: demo.port, SQLITE_PATH: databaseFile('taken') })
    expect(failure.exitCode).toBe(1)
    expect(failure.complaints).toMatch(new RegExp(`^Port ${demo.port} is taken\\.[^\\n]*\\n$`))
  })

  test('says in one line that its store cannot be reached', async () => {
    const failure = await failedDemo({ REDIS_URL: `redis://localhost:${await freePort()}` })
    expect(failure.exitCode).toBe(1)
    expect(failure.complaints).toMatch(/^The store cannot be opened: .*ECONNREFUSED.*\n$/)
  })

  test('turns away a form that another site sent', async () => {
    const page = await visitor()
    await page.goto(demo.url)
    const cookie = await cookieOf(page)
    const answer = await fetch(`${demo.url}/sign-in`, {
      method: 'POST',
      headers: {
        Cookie: headerOf(cookie),
        Origin: 'https://elsewhere.example',
        'Sec-Fetch-Site': 'cross-site',
      },
      body: new URLSearchParams({ name: 'Mallory' }),
    })
    expect(answer.status).toBe(403)
    expect(await userOf(cookie)).toBeNull()
  })

  test('takes its own forms over plain http from elsewhere, where browsers send an Origin and no Sec-Fetch-Site', async () => {
    const page = await visitor()
    await page.goto(`http://plain.test:${demo.port}`)
    await signIn(page, 'Ada')
    expect(await page.locator('#account').textContent()).toContain('Ada')
  })

  test('sets a Secure cookie with the __Host- prefix in production, which Chromium takes from http://localhost', async () => {
    const production = await startDemo({ NODE_ENV: 'production', SESSION_STORE: 'memory' })
    try {
      const page = await visitor()
      await page.goto(production.url)
      await page.goto(production.url)
      expect(await visitsOn(page)).toBe('2')
      expect(await cookieOf(page)).toMatchObject({ name: '__Host-session', secure: true })
      expect(production.complaints).toBe('')
    } finally {
      await production.stop()
    }
  })

  test('answers 503 while its store is away, and goes on when it is back', async () => {
    const redis = await startRedis()
    const away = await startDemo({ REDIS_URL: redis.url, STORE_TIMEOUT: '1' })
    try {
      const cookie = headerOfSetCookie(await fetch(away.url))
      redis.kill('SIGSTOP')
      const during = await fetch(away.url, { headers: { Cookie: cookie } })
      redis.kill('SIGCONT')
      expect([during.status, during.headers.get('Set-Cookie')]).toEqual([503, null])
      await eventually(() => expect(away.complaints).toContain('The store failed at load'))
      await eventually(async () =>
        expect((await fetch(away.url, { headers: { Cookie: cookie } })).status).toBe(200),
      )
    } finally {
      await away.stop()
      await redis.stop()
    }
  })
})

describe.each(['SQLite', 'memory', 'Redis'])('on %s', (kind) => {
  let redis: RedisServer | undefined
  let server: DemoServer

  beforeAll(async () => {
    if (kind === 'Redis') redis = await startRedis()
    server = await startDemo({
      ...(redis !== undefined && { REDIS_URL: redis.url }),
      ...(kind === 'memory' && { SESSION_STORE: 'memory' }),
      ...(kind === 'SQLite' && { SQLITE_PATH: databaseFile('main-path') }),
    })
  })

  afterAll(async () => {
    await server?.stop('SIGKILL')
    await redis?.stop()
  })

  test('a visitor signs in, fills the cart, sends twenty requests, and signs out for good', async () => {
    const page = await visitor()
    await page.goto(server.url)
    expect(await page.locator('.hero .lede').textContent()).toContain(kind)
    await signIn(page, 'Ada')
    await addToCart(page, 'Brass lantern')
    await addToCart(page, 'Brass lantern')
    await eventually(async () => expect(await quantityOf(page, 'Brass lantern')).toBe('2'))
    await page.getByRole('button', { name: 'Send 20 requests' }).click()
    await page.getByText('20 of 20 keys are there, and the counter says 20.').waitFor()
    await page.getByRole('button', { name: 'Sign out meanwhile' }).click()
    await page.locator('[data-step=written].done', { hasText: 'It is told: gone.' }).waitFor()
    await page.locator('[data-step=read].done', { hasText: 'Nobody is signed in' }).waitFor()
    expect(server.complaints).toBe('')
  })
})

/** A demo that does not come to listen, and ends by itself. */
async function failedDemo(env: NodeJS.ProcessEnv): Promise<DemoFailed> {
  const outcome = await startDemo(env).catch((error: unknown) => error)
  expect(outcome).toBeInstanceOf(DemoFailed)
  return outcome as DemoFailed
}

/** A page in a browser that has not been here before. */
async function visitor(options: BrowserContextOptions = {}): Promise<Page> {
  const context = await browser.newContext(options)
  contexts.push(context)
  context.on('page', watch)
  return context.newPage()
}

async function tabBeside(page: Page): Promise<Page> {
  return page.context().newPage()
}

function watch(page: Page): void {
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) troubles.push(message.text())
  })
  page.on('pageerror', (error) => troubles.push(error.message))
  page.on('response', (response) => {
    if (response.status() >= 400) troubles.push(`${response.status()} ${response.url()}`)
  })
}

async function addToCart(page: Page, name: string): Promise<void> {
  const answer = page.waitForResponse((response) => response.url().endsWith('/cart/add'))
  await page.locator('.goods').getByRole('button', { name }).click()
  await answer
  await page.locator('.lines', { hasText: name }).waitFor()
  await scripted(page)
}

function quantityOf(page: Page, name: string): Promise<string | null> {
  return page.locator('.lines li', { hasText: name }).getByLabel('Quantity').textContent()
}

function visitsOn(page: Page): Promise<string | null> {
  return page.locator('#visits-count b').textContent()
}

async function idOn(page: Page): Promise<string> {
  return (await page.locator('#session-id').textContent()) ?? ''
}

async function decisionsOn(page: Page): Promise<string[][]> {
  const rows = await page.locator('#log tbody tr').all()
  return Promise.all(
    rows.map(async (row) => {
      const cells = (await row.locator('th, td').allTextContents()).map((text) => text.trim())
      return cells.map((text) => text.replace(/\s+[\d:]+ UTC$/, ''))
    }),
  )
}

async function cookieOf(page: Page): Promise<Cookie> {
  const cookies = await page.context().cookies()
  expect(cookies).toHaveLength(1)
  return cookies[0]!
}

function headerOf({ name, value }: Cookie): string {
  return `${name}=${value}`
}

function headerOfSetCookie(answer: Response): string {
  return answer.headers.get('Set-Cookie')!.split(';', 1)[0]!
}

/** Who is signed in with a cookie, asked apart from the browser. */
async function userOf(cookie: Cookie): Promise<string | null> {
  const answer = await fetch(`${demo.url}/look/none`, { headers: { Cookie: headerOf(cookie) } })
  const { userId } = (await answer.json()) as { userId: string | null }
  return userId
}

/** What the focus is on: its label or its text. */
async function focusedOn(page: Page): Promise<string> {
  const name = await page.evaluate(`(({ labels, ariaLabel, textContent }) =>
    labels?.[0]?.textContent ?? ariaLabel ?? textContent)(document.activeElement)`)
  return String(name).trim().replace(/\s+/g, ' ')
}

async function tabTo(page: Page, name: string): Promise<void> {
  for (let presses = 0; presses < 100; presses++) {
    if ((await focusedOn(page)) === name) return
    await page.keyboard.press('Tab')
  }
  throw new Error(`100 presses of Tab did not lead to “${name}”`)
}

/** The elements that reach beyond the right edge of the page. */
function overflowOf(page: Page): Promise<unknown> {
  return page.evaluate(`[...document.querySelectorAll('*')]
    .filter((element) => element.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
    .map((element) => element.outerHTML.slice(0, 80))
    .concat(document.documentElement.scrollWidth > innerWidth ? ['the page itself'] : [])`)
}

function databaseFile(name: string): string {
  return join(folder.path, `${name}.sqlite`)
}

function sourceOfDemo(): string {
  const path = new URL('../../demo/', import.meta.url)
  return readdirSync(path)
    .filter((name) => name.endsWith('.ts') && !name.includes('panel'))
    .map((name) => readFileSync(new URL(name, path), 'utf8'))
    .join('\n')
}

function withoutComment(line: string): string {
  return line.replace(/\/\/ .*$/, '').trim()
}
