namespace Dynamo.Vllm.Engine.Guest;

/// <summary>What the host asks of the guest. The numbers are those of wire.py.</summary>
internal enum GuestOperation : byte
{
    Parse = 1,
    Help = 2,
    Build = 3,
    Submit = 4,
    Abort = 5,
    Call = 6,
    Shutdown = 7,
    Encode = 8,
    Fetch = 9,
    EncodeImages = 10,
    Steps = 20,
}
