/** The browser's own store of votes: IndexedDB, one store, in the order in which they were cast. */

import { uuid } from "./uuid.js";

const PATIENCE_MS = 4000; // some browsers leave a request to open without any answer
const NAME = "discern";
const VOTES = "votes"; // keys: [subject, sequence, uuid]; without the last in what an earlier version has stored
let opened = null;

/** A subject's stored votes as [key, vote], oldest first. Throws where the browser does not let us. */
export async function stored(subject) {
  const range = IDBKeyRange.bound([subject], [subject, []]);
  const found = [];
  await transaction("readonly", (votes) => {
    votes.openCursor(range).onsuccess = ({ target: { result: cursor } }) => {
      if (!cursor) return;
      found.push([cursor.key, cursor.value]);
      cursor.continue();
    };
  });
  return found;
}

/** Stores a vote behind all others of its subject, those of other tabs too; resolves to its key. */
export async function store(subject, vote) {
  const range = IDBKeyRange.bound([subject], [subject, []]);
  let key;
  await transaction("readwrite", (votes, fail) => {
    votes.openKeyCursor(range, "prev").onsuccess = ({ target: { result: last } }) => {
      key = [subject, (last?.key[1] ?? 0) + 1, uuid()]; // numbers come again once the store was empty
      try {
        votes.add(vote, key);
      } catch (error) {
        fail(error);
      }
    };
  });
  return key;
}

/** Takes a vote out; should a crash undo that, it is sent once more, which changes nothing. */
export function remove(key) {
  return transaction("readwrite", (votes) => votes.delete(key), "relaxed");
}

/** Resolves when what `work` asks for is on the disk; with "relaxed", when it is on its way there. */
async function transaction(mode, work, durability = "strict") {
  const database = await open();
  return new Promise((resolve, reject) => {
    const begun = database.transaction(VOTES, mode, { durability });
    begun.oncomplete = () => resolve();
    begun.onabort = begun.onerror = () => reject(begun.error ?? new Error("not stored"));
    work(begun.objectStore(VOTES), (error) => (reject(error), begun.abort()));
  });
}

function open() {
  opened ??= connect().catch((error) => {
    opened = null;
    throw error;
  });
  return opened;
}

function connect() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    const late = setTimeout(() => reject(new Error("no answer")), PATIENCE_MS);
    request.onupgradeneeded = () => request.result.createObjectStore(VOTES);
    request.onerror = () => (clearTimeout(late), reject(request.error));
    request.onsuccess = () => {
      clearTimeout(late);
      const forget = () => (opened = null); // the next one opens it again
      request.result.onclose = forget;
      request.result.onversionchange = () => (request.result.close(), forget());
      resolve(request.result);
    };
  });
}
