namespace Dynamo.Vllm.Testing;

/// <summary>Code that runs in every Python of a worker, before anything
/// else: what a library may do to the processes that load it.</summary>
public static class PythonFault
{
    /// <summary>Prints 4,000 characters to both outputs for each message between
    /// the engine's processes, as a library in debug mode might.</summary>
    public const string PrintsForEachMessage = """
        import marshal, sys
        def _talk(real):
            def talking(*arguments):
                print('o' * 4000)
                print('e' * 4000, file=sys.stderr)
                return real(*arguments)
            return talking
        marshal.dumps = _talk(marshal.dumps)
        marshal.loads = _talk(marshal.loads)
        """;

    /// <summary>Ends the worker's own process the way a broken native library does, once the engine exists.</summary>
    public const string Crashes = """
        import marshal, ctypes, os
        if b'--multiprocessing-fork' not in open('/proc/self/cmdline', 'rb').read():
            _loads = marshal.loads
            def _crash(*arguments):
                if os.environ.get('PROMETHEUS_MULTIPROC_DIR'):
                    text = b'terminate called by a library\n'
                    ctypes.CDLL(None).write(2, text, len(text))
                    ctypes.CDLL(None).abort()
                return _loads(*arguments)
            marshal.loads = _crash
        """;

    /// <summary>The worker's own Python holds its lock for half a minute once a file <c>hold</c> is beside this code.</summary>
    public const string HoldsTheLockWhenTold = """
        import ctypes, logging, os, threading, time
        def _hold():
            while not os.path.exists(os.path.join(os.path.dirname(__file__), 'hold')):
                time.sleep(0.02)
            logging.getLogger('fault').warning('holding the lock')
            time.sleep(0.2)
            ctypes.PyDLL(None).sleep(30)
        if b'--multiprocessing-fork' not in open('/proc/self/cmdline', 'rb').read():
            threading.Thread(target=_hold, daemon=True).start()
        """;

    /// <summary>Environment with which Python runs the code.</summary>
    public static Dictionary<string, string> Environment(TemporaryFolder folder, string code)
    {
        folder.Write("sitecustomize.py", code);
        return new Dictionary<string, string> { ["PYTHONPATH"] = folder.Path };
    }
}
