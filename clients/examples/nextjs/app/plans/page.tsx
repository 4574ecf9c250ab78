/** Where the card's way to a larger plan leads: here your own page of plans would be. */
export default function Plans() {
  return (
    <main>
      <h1>Plans</h1>
      <p>Here your page of plans would be.</p>
    </main>
  );
}
