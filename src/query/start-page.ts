/** `GET /`: a page where a person can ask the graph something. Self-contained: nothing is loaded from elsewhere. */

const EXAMPLE = `{
  at {
    basis { position knownAt validAt token }
    patients(first: 10) {
      nodes {
        id
        names { family given }
        birthDate
        encounters(first: 3) { nodes { status class location } }
        meta { recordedAt message { id type } }
      }
    }
  }
  projections { name version position lagEvents state }
}`;

/** The page; its script and style are allowed by their place in it, and nothing else is. */
export const START_PAGE = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Anamnesis</title>
<style>
  body { font: 15px/1.4 system-ui, sans-serif; margin: 0 auto; max-width: 80rem; padding: 1rem; color: #1c2430; background: #fbfbf9 }
  main { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)) }
  textarea, pre { box-sizing: border-box; width: 100%; height: 65vh; margin: 0; padding: .75rem; overflow: auto; font: 13px/1.45 ui-monospace, monospace;
    border: 1px solid #b9c0c9; border-radius: 4px; background: #fff; color: inherit }
  button { font: inherit; padding: .4rem 1rem; margin: .5rem 0 }
  label { display: block }
</style>
<h1>Anamnesis</h1>
<p>The clinical graph is at <code>/graphql</code>, the anonymized one at <code>/graphql/analytics</code>. Ask one of them:</p>
<form>
  <label>Graph <select name="graph"><option value="/graphql">clinical</option><option value="/graphql/analytics">anonymized</option></select></label>
  <main>
    <div><label for="query">Query</label><textarea id="query" name="query" spellcheck="false">${EXAMPLE}</textarea></div>
    <div><label for="answer">Answer</label><pre id="answer" tabindex="0" aria-live="polite"></pre></div>
  </main>
  <button>Ask</button>
</form>
<script>
  const form = document.querySelector('form');
  const answer = document.querySelector('#answer');
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    answer.textContent = '…';
    try {
      const response = await fetch(form.graph.value, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ query: form.query.value }),
      });
      answer.textContent = JSON.stringify(await response.json(), null, 2);
    } catch (error) {
      answer.textContent = String(error);
    }
  });
</script>
</html>
`;
