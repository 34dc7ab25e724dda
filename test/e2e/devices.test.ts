import type { Browser, BrowserContext, BrowserContextOptions, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'

import { launchChromium } from '../support/chromium.ts'
import type { DemoServer } from '../support/demo-server.ts'
import { startDemo } from '../support/demo-server.ts'
import { eventually } from '../support/eventually.ts'
import type { RedisServer } from '../support/redis-server.ts'
import { startRedis } from '../support/redis-server.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'
import { listening, signIn } from './pages.ts'

let browser: Browser
const contexts: BrowserContext[] = []

beforeAll(async () => {
  browser = await launchChromium()
})
/** Counts the tests, so that one that is run again meets new users. */
let turn = 0
beforeEach(() => void turn++)
afterEach(() => Promise.all(contexts.splice(0).map((context) => context.close())))
afterAll(() => browser?.close())

/** Milliseconds, on a machine that is busy with other tests. Who is not told looks 20 to 30 s after a page has begun to listen. */
const AT_ONCE = 10_000

const PHONE =
  'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Safari/604.1'

describe.each(['Redis, on two servers', 'SQLite, on one'])('The devices of a user, with %s', (name) => {
  let redis: RedisServer | undefined
  let servers: DemoServer[] = []
  let remove = (): void => {}

  beforeAll(async () => {
    if (name.startsWith('Redis')) {
      redis = await startRedis()
      servers = await Promise.all([startDemo({ REDIS_URL: redis.url }), startDemo({ REDIS_URL: redis.url })])
    } else {
      const folder = await temporaryFolder()
      remove = () => folder.remove()
      servers = [await startDemo({ SQLITE_PATH: `${folder.path}/devices.sqlite` })]
    }
  })
  afterAll(async () => {
    await Promise.all(servers.map((server) => server.stop('SIGKILL')))
    await redis?.stop()
    remove()
  })

  /** A browser of its own, at one of the servers, signed in. */
  async function signedIn(name: string, at: number, options: BrowserContextOptions = {}): Promise<Page> {
    const user = `${name} ${turn}`
    const context = await browser.newContext(options)
    context.setDefaultTimeout(15_000)
    contexts.push(context)
    const page = await context.newPage()
    await page.goto(servers[at % servers.length]!.url)
    await signIn(page, user)
    await page.getByRole('link', { name: 'Your devices' }).click()
    await page.getByRole('heading', { name: 'Your devices' }).waitFor()
    return page
  }

  test('are listed by name, with this one marked, and nobody else’s', async () => {
    await signedIn('Bea', 0)
    await signedIn('Ada', 0, { userAgent: PHONE })
    const page = await signedIn('Ada', 1)
    expect(await page.locator('.devices li').count()).toBe(2)
    expect(await page.locator('.devices li', { hasText: 'Safari on iPhone' }).count()).toBe(1)
    expect(await page.locator('[aria-current=true]').textContent()).toMatch(/Chrome on Linux\s+this one/)
  })

  test('are signed out one by one, or all others at once, without JavaScript', async () => {
    const phone = await signedIn('Cleo', 0, { userAgent: PHONE, javaScriptEnabled: false })
    const other = await signedIn('Cleo', 1, { javaScriptEnabled: false })
    const page = await signedIn('Cleo', 1, { javaScriptEnabled: false })
    await page.getByRole('button', { name: /Revoke Safari on iPhone/ }).click()
    await page.getByText('That device is signed out.').waitFor()
    await phone.reload()
    await phone.getByRole('heading', { name: 'Signed out' }).waitFor()
    await page.getByRole('button', { name: 'Sign out everywhere else' }).click()
    await page.getByText('One other device is signed out.').waitFor()
    await other.reload()
    await other.getByRole('heading', { name: 'Signed out' }).waitFor()
    await page.reload()
    expect(await page.locator('.devices li').count()).toBe(1)
    expect(await page.getByRole('button', { name: 'Sign out everywhere else' }).count()).toBe(0)
  })

  test('turn into the signed-out page at once when they are revoked', async () => {
    const phone = await signedIn('Finn', 0, { userAgent: PHONE })
    const [tablet, page] = [await signedIn('Finn', 1), await signedIn('Finn', 1)]
    await tablet.goto(servers[0]!.url)
    await Promise.all([listening(phone), listening(tablet)])
    await page.reload()
    await page.getByRole('button', { name: /Revoke Safari on iPhone/ }).click()
    await phone.getByText('This session was ended').waitFor({ timeout: AT_ONCE })
    await page.getByRole('button', { name: 'Sign out everywhere else' }).click()
    await tablet.getByText('This session was ended').waitFor({ timeout: AT_ONCE })
    await page.getByText('One other device is signed out.').waitFor()
  })

  test('show what the others do, without a reload', async () => {
    const other = await signedIn('Gwen', 0, { userAgent: PHONE })
    const page = await signedIn('Gwen', 1)
    await listening(page)
    const active = page.locator('.devices li', { hasText: 'iPhone' }).getByText('Active')
    const before = await active.textContent()
    // Times are shown by the second.
    await other.waitForTimeout(1000)
    await other.goto(servers[0]!.url)
    await page
      .locator('.devices li', { hasText: 'iPhone' })
      .getByText('Active')
      .filter({ hasNotText: before! })
      .waitFor({ timeout: AT_ONCE })
  })

  test('show one session alike, wherever it is open', async () => {
    const page = await signedIn('Hugo', 0)
    const cookies = await page.context().cookies()
    const context = await browser.newContext()
    contexts.push(context)
    await context.addCookies(cookies)
    const beside = await context.newPage()
    await beside.goto(servers.at(-1)!.url)
    await listening(beside)
    await page.goto(servers[0]!.url)
    await page.locator('.goods').getByRole('button', { name: 'Brass lantern' }).click()
    await beside.locator('.lines', { hasText: 'Brass lantern' }).waitFor({ timeout: AT_ONCE })
    const visits = page.locator('#visits-count b')
    await page.getByRole('button', { name: 'Visit again' }).click()
    const shown = await visits.textContent()
    await eventually(
      async () => expect(await beside.locator('#visits-count b').textContent()).toBe(shown),
      AT_ONCE,
    )
  })

  test('cannot be revoked by anybody else', async () => {
    const mine = await signedIn('Dora', 0)
    await signedIn('Dora', 0)
    await mine.reload()
    const id = await mine.locator('[name=id]').getAttribute('value')
    const thief = await signedIn('Mallory', 1)
    // Fetched from her own page, as her own form would be.
    await thief.evaluate(
      `fetch('/devices/revoke', { method: 'POST', body: new URLSearchParams({ id: ${JSON.stringify(id)} }) })`,
    )
    await mine.reload()
    expect(await mine.locator('.devices li').count()).toBe(2)
  })

  test.each([1280, 360])('fit on a screen %i pixels wide', async (width) => {
    const options = { viewport: { width, height: 800 } }
    await signedIn(`Eve${width}`, 0, { ...options, userAgent: PHONE })
    const page = await signedIn(`Eve${width}`, 0, options)
    if (process.env['HOLDFAST_SCREENSHOTS'] !== undefined)
      await page.screenshot({
        path: `${process.env['HOLDFAST_SCREENSHOTS']}/devices-${width}.png`,
        fullPage: true,
      })
    expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true)
  })
})
