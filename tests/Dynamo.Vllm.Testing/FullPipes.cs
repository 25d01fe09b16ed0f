namespace Dynamo.Vllm.Testing;

/// <summary>Starts a program with its outputs full: nobody reads them, and not a byte more fits.</summary>
public static class FullPipes
{
    private const string Script = """
        import os, sys
        for descriptor in (1, 2):
            os.set_blocking(descriptor, False)
            try:
                while True:
                    os.write(descriptor, b'.' * 4095 + b'\n')
            except BlockingIOError:
                pass
            os.set_blocking(descriptor, True)
        os.execvp(sys.argv[1], sys.argv[1:])
        """;

    /// <summary>Put in front of the program and its arguments.</summary>
    /// <remarks>Without <c>site</c>: code that the test has for the worker's
    /// Python must not print here, once nothing fits any more.</remarks>
    public static IReadOnlyList<string> Launcher { get; } = ["python3", "-S", "-c", Script];
}
