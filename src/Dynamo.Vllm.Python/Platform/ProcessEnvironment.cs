namespace Dynamo.Vllm.Python.Platform;

/// <summary>Environment of this process as native code and children see it.</summary>
/// <remarks>
/// .NET keeps a copy of its own, so a variable that Python must see is set in both. Only before the interpreter starts:
/// setenv is not safe beside other threads that read the environment in C, and Python copies it once.
/// </remarks>
public static class ProcessEnvironment
{
    public static void Set(string name, string? value)
    {
        Environment.SetEnvironmentVariable(name, value);
        if (value is null)
        {
            NativeLibc.UnsetEnv(name);
        }
        else
        {
            NativeLibc.SetEnv(name, value, 1);
        }
    }

    /// <summary>Ends the process at once: no exit handlers of native libraries, which crash beside a live interpreter.</summary>
    public static void ExitImmediately(int code) => NativeLibc.Exit(code);
}
