/** Looks through a journal that is too large to be checked before it is used. Answers with what is wrong, or null. */
import { DatabaseSync } from 'node:sqlite'
import { parentPort, workerData } from 'node:worker_threads'
import { checkPages, isDamage } from './journal-store.ts'

const db = new DatabaseSync((workerData as { path: string }).path, { readOnly: true })
let wrong: string | null = null
try {
  checkPages(db)
} catch (error) {
  if (!isDamage(error)) throw error
  wrong = (error as Error).message
} finally {
  db.close()
}
parentPort?.postMessage(wrong)
