namespace Dynamo.Vllm.Python.Interpreter;

/// <summary>The first Python that runs: makes the guest's modules importable,
/// keeps signals ours, and turns every end into a value.</summary>
internal static class Bootstrap
{
    public const string ModuleName = "_dynamo_bootstrap";

    /// <summary><c>run(host)</c> returns None, or the traceback of what ended the guest.</summary>
    public const string Source = """
        import importlib.abc
        import importlib.machinery
        import importlib.util
        import signal
        import sys
        import traceback


        class EmbeddedModules(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
            '''Imports modules whose source came with the host program.'''

            def __init__(self, sources):
                self._sources = dict(sources)

            def find_spec(self, fullname, path=None, target=None):
                if fullname + '.__init__' in self._sources:
                    return importlib.util.spec_from_loader(fullname, self, origin='embedded', is_package=True)
                if fullname in self._sources:
                    return importlib.util.spec_from_loader(fullname, self, origin='embedded')
                return None

            def get_source(self, fullname):
                source = self._sources.get(fullname)
                return self._sources[fullname + '.__init__'] if source is None else source

            def get_code(self, fullname):
                return compile(self.get_source(fullname), '<embedded ' + fullname + '>', 'exec', dont_inherit=True)


        def keep_signals():
            '''The host owns these: a handler set from Python would take them away from it.'''
            ours = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP}
            real = signal.signal

            def guarded(number, handler):
                return signal.getsignal(number) if number in ours else real(number, handler)

            signal.signal = guarded


        def write_through():
            '''Nothing flushes at the end, since finalization never runs. The host collects lines in any case.'''
            for output in (sys.stdout, sys.stderr):
                if hasattr(output, 'reconfigure'):
                    output.reconfigure(write_through=True)


        def run(host):
            try:
                keep_signals()
                write_through()
                sys.meta_path.insert(0, EmbeddedModules(host.modules))
                __import__(host.entry)
                sys.modules[host.entry].main(host)
                return None
            except BaseException:
                return traceback.format_exc()
            finally:
                # Finalization never runs, so what waits for it (multiprocessing's children) is told here.
                import atexit
                try:
                    atexit._run_exitfuncs()
                except BaseException:
                    traceback.print_exc()
        """;
}
