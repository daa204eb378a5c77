// Begins with the page: Gradio takes it as a function.
() => {
  const enlarge = button => {
    const large = document.createElement('dialog');
    large.className = 'enlarged';
    large.append(button.firstElementChild.cloneNode());
    large.onclick = () => large.close();
    large.onclose = () => large.remove();
    document.body.append(large);
    large.showModal();
  };
  addEventListener('click', e => {
    const button = e.target.closest('.reasons .larger');
    if (button) enlarge(button);
  });

  // A double click asks once.
  addEventListener('click', e => { if (e.detail > 1 && e.target.closest('#inspect')) e.stopImmediatePropagation(); }, true);

  // The heatmap is as strong as its slider says, also when the next image comes, whose slider stays where it was.
  const sliders = '.reasons .opacity input';
  const heat = input => {
    const section = input.closest('section');
    if (section.style.getPropertyValue('--heat') !== input.value) section.style.setProperty('--heat', input.value);
  };
  addEventListener('input', e => { if (e.target.matches(sliders)) heat(e.target); });
  new MutationObserver(() => document.querySelectorAll(sliders).forEach(heat)).observe(
    document.body, {subtree: true, childList: true, attributeFilter: ['style', 'src']});

  // On a narrow screen the decision is brought into view.
  window.showDecision = () => {
    const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
    if (innerWidth < 768) document.getElementById('result').scrollIntoView({behavior: still ? 'auto' : 'smooth'});
  };
}
