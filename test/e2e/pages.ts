import type { Page } from 'playwright-core'

export async function signIn(page: Page, name: string): Promise<void> {
  await page.getByLabel('Your name').fill(name)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByText(`Welcome, ${name}.`).waitFor()
  await scripted(page)
}

/** Resolves when a page that is there has run its script: before that, its forms are sent as they are without one. */
export function scripted(page: Page): Promise<void> {
  return page.waitForLoadState()
}

/** Resolves once a page hears of what happens. */
export function listening(page: Page): Promise<unknown> {
  return page.waitForSelector('html[data-live="true"]')
}
