export {
  adapterContract,
  type AdapterHarness,
  type AdapterServer,
  type AdapterTest,
  type Answer,
  type Exchange,
  type ExchangeHandler,
} from './adapter-contract.ts'
export { ManualClock } from './clock.ts'
export { type Browser, type BrowserOptions, CookieJar, createBrowser } from './cookie-jar.ts'
export { FaultyStore, type StoreOperation } from './faulty-store.ts'
export { storeContract, type StoreHarness, type StoreTest } from './store-contract.ts'
