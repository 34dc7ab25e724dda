/** What the cart can hold. Prices in euros. */
export interface Good {
  readonly sku: string
  readonly name: string
  readonly price: number
}

export const GOODS: readonly Good[] = [
  { sku: 'rope', name: 'Manila rope', price: 18 },
  { sku: 'lantern', name: 'Brass lantern', price: 42 },
  { sku: 'tides', name: 'Tide table', price: 9 },
  { sku: 'blanket', name: 'Wool blanket', price: 55 },
]

export function goodOf(sku: string): Good | undefined {
  return GOODS.find((good) => good.sku === sku)
}
